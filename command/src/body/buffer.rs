//! The buffer in which a body is assembled. A small body is on the heap. A large one has its own pages, which the system
//! provides as they are written and takes back when they are dropped; the heap would move a body each time it grows, and keep
//! the memory that it frees.

use std::io;

use bytes::Bytes;
use memmap2::MmapMut;

use super::BODY_BYTES_MAX;

/// A larger body has its own pages.
const HEAP_BYTES_MAX: usize = 64 * 1024;
/// The step by which the counted memory of pages grows.
const PAGES_STEP: usize = 64 * 1024;

/// A body that is being assembled.
#[derive(Debug)]
pub enum BodyBuffer {
    Heap(Vec<u8>),
    Pages(Pages),
}

/// Room for the announced body, or for the largest one; `len` bytes have arrived.
#[derive(Debug)]
pub struct Pages {
    map: MmapMut,
    len: usize,
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self.map.get(..self.len).unwrap_or_default()
    }
}

impl BodyBuffer {
    /// `announced` is the length of the body, if it is known.
    pub fn new(announced: Option<usize>) -> Self {
        Self::Heap(Vec::with_capacity(announced.filter(|length| *length <= HEAP_BYTES_MAX).unwrap_or(0)))
    }

    pub const fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Pages(pages) => pages.len,
        }
    }

    /// The memory that the body takes at a length of `len` bytes.
    pub fn memory_at(&self, len: usize) -> usize {
        match self {
            Self::Heap(bytes) if len <= HEAP_BYTES_MAX => bytes.capacity().max(len),
            Self::Heap(_) | Self::Pages(_) => len.next_multiple_of(PAGES_STEP),
        }
    }

    /// Appends a chunk.
    ///
    /// Errors: the body exceeds the announced length or the largest body; the system provides no pages.
    pub fn extend(&mut self, chunk: &[u8], announced: Option<usize>) -> io::Result<()> {
        let len = self.len() + chunk.len();
        if let Self::Heap(bytes) = self
            && len > HEAP_BYTES_MAX
        {
            *self = Self::Pages(Pages::holding(bytes, announced.unwrap_or(BODY_BYTES_MAX).max(len))?);
        }
        match self {
            Self::Heap(bytes) => bytes.extend_from_slice(chunk),
            Self::Pages(pages) => {
                let room = pages.map.get_mut(pages.len..len);
                room.ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(chunk);
                pages.len = len;
            }
        }
        Ok(())
    }

    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.into(),
            Self::Pages(pages) => Bytes::from_owner(pages),
        }
    }
}

/// The body in pages of its own, or where it is if the system provides none. What one thread writes on the heap and another frees, the
/// heap keeps for the first.
pub fn in_own_pages(body: Bytes) -> Bytes {
    Pages::holding(&body, body.len()).map_or(body, Bytes::from_owner)
}

impl Pages {
    fn holding(bytes: &[u8], room: usize) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(room)?;
        // The system provides a whole huge page for its first byte.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        map.get_mut(..bytes.len()).ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(bytes);
        Ok(Self { map, len: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_body_has_the_bytes_that_came_and_takes_no_more_than_the_stated_memory(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..12),
            is_announced in any::<bool>(),
        ) {
            let whole = chunks.concat();
            let announced = is_announced.then_some(whole.len());
            let mut buffer = BodyBuffer::new(announced);
            for chunk in &chunks {
                let memory = buffer.memory_at(buffer.len() + chunk.len());
                buffer.extend(chunk, announced).unwrap();
                prop_assert!(memory >= buffer.len() && memory < buffer.len().max(HEAP_BYTES_MAX) + PAGES_STEP);
            }
            prop_assert_eq!(buffer.into_bytes(), whole);
        }
    }

    #[test]
    fn a_small_body_takes_its_bytes_and_one_above_64_kib_whole_pages_of_as_many() {
        let buffer = BodyBuffer::new(None);
        let taken = [1, 40_000, 65_536, 65_537, 131_072, 131_073].map(|len| buffer.memory_at(len));
        assert_eq!(taken, [1, 40_000, 65_536, 131_072, 131_072, 196_608]);
    }

    #[test]
    fn bytes_beyond_the_announced_length_do_not_fit() {
        let mut buffer = BodyBuffer::new(Some(100_000));
        buffer.extend(&[b'a'; 99_999], Some(100_000)).unwrap();
        assert!(buffer.extend(b"bc", Some(100_000)).is_err());
        assert_eq!(buffer.len(), 99_999);
    }
}
