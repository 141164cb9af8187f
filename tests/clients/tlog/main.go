// Checks the files of a transparency log with the packages that Go checks its own module log with. It shares no code with the
// gateway, and trusts nothing in the folder but the vkey of the log:
//
//	vkey               the log's verifier key
//	witnesses          a line with the vkey of each witness, if there are any
//	checkpoint         the newest checkpoint
//	checkpoints/…      older ones, whatever they are called
//	tile/…             tiles and entry bundles
//	proofs/X           .tlog-proof files; X.entry has the bytes of the entry of X.tlog-proof
//
// It is given the folder, and says what it has checked, or what is wrong.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tlog FOLDER")
		os.Exit(2)
	}
	if err := check(log{folder: os.Args[1]}); err != nil {
		fmt.Fprintln(os.Stderr, "tlog:", err)
		os.Exit(1)
	}
}

// log is a folder with the files of a log.
type log struct {
	folder    string
	origin    string
	key       note.Verifier
	witnesses []note.Verifier
}

// checkpoint is the text of a verified note.
type checkpoint struct {
	tlog.Tree
	cosigned int
}

func check(log log) error {
	if err := log.readKeys(); err != nil {
		return err
	}
	newest, err := log.openFile("checkpoint")
	if err != nil {
		return err
	}
	stored, entries, err := log.entries(newest.N)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(newest.N, stored)
	if err != nil {
		return err
	}
	if root != newest.Hash {
		return fmt.Errorf("the entries have the root %v, the checkpoint has %v", root, newest.Hash)
	}
	fmt.Printf("derived the root of %d entries of %s, cosigned by %d witnesses\n", newest.N, log.origin, newest.cosigned)
	tiles, err := log.compareTiles(newest, stored)
	if err != nil {
		return err
	}
	fmt.Printf("compared %d tiles\n", tiles)
	reader := tlog.TileHashReader(newest.Tree, log)
	if err := proveEntries(newest, reader, entries); err != nil {
		return err
	}
	fmt.Printf("proved that %d entries are in the log\n", len(entries))
	older, err := log.proveOlder(newest, reader)
	if err != nil {
		return err
	}
	fmt.Printf("proved that the log continues %d older checkpoints\n", older)
	proofs, err := log.checkProofFiles()
	if err != nil {
		return err
	}
	fmt.Printf("verified %d proof files\n", proofs)
	return nil
}

func (log *log) readKeys() error {
	vkey, err := os.ReadFile(filepath.Join(log.folder, "vkey"))
	if err != nil {
		return err
	}
	if log.key, err = note.NewVerifier(strings.TrimSuffix(string(vkey), "\n")); err != nil {
		return err
	}
	log.origin = log.key.Name()
	witnesses, err := os.ReadFile(filepath.Join(log.folder, "witnesses"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, vkey := range strings.Fields(string(witnesses)) {
		witness, err := newWitness(vkey)
		if err != nil {
			return err
		}
		log.witnesses = append(log.witnesses, witness)
	}
	return err
}

// witness verifies cosignatures (c2sp.org/tlog-cosignature), which Go's package does not know.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is not a vkey", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, fmt.Errorf("%q is not the vkey of a witness", vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, fmt.Errorf("%q has the id of another key", vkey)
	}
	return witness{parts[0], hash, key[1:]}, nil
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }

func (w witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(w.key, []byte(message), signature[8:])
}

func (log log) openFile(name string) (checkpoint, error) {
	signed, err := os.ReadFile(filepath.Join(log.folder, name))
	if err != nil {
		return checkpoint{}, err
	}
	opened, err := log.open(signed)
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	return opened, nil
}

// open verifies the log's signature of a checkpoint, and counts the witnesses that have cosigned it.
func (log log) open(signed []byte) (checkpoint, error) {
	if _, err := note.Open(signed, note.VerifierList(log.key)); err != nil {
		return checkpoint{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(append(log.witnesses, log.key)...))
	if err != nil {
		return checkpoint{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != log.origin || lines[len(lines)-1] != "" {
		return checkpoint{}, fmt.Errorf("%q is not a checkpoint of %s", opened.Text, log.origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] || size < 0 {
		return checkpoint{}, fmt.Errorf("%q is not a size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, err
	}
	return checkpoint{tlog.Tree{N: size, Hash: root}, len(opened.Sigs) - 1}, nil
}

// storedHashes are all hashes of a tree, in the order of the package.
type storedHashes []tlog.Hash

func (stored storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(stored)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		hashes[i] = stored[index]
	}
	return hashes, nil
}

// entries reads the entry bundles, and derives the tree from nothing else.
func (log log) entries(size int64) (storedHashes, [][]byte, error) {
	var stored storedHashes
	var entries [][]byte
	for first := int64(0); first < size; first += 1 << tileHeight {
		path := bundlePath(first>>tileHeight, min(1<<tileHeight, size-first))
		data, err := os.ReadFile(filepath.Join(log.folder, path))
		if err != nil {
			return nil, nil, err
		}
		for index := first; index < min(size, first+1<<tileHeight); index++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, nil, fmt.Errorf("%s ends before entry %d", path, index)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			entry := data[2:end]
			hashes, err := tlog.StoredHashes(index, entry, stored)
			if err != nil {
				return nil, nil, err
			}
			stored, entries, data = append(stored, hashes...), append(entries, entry), data[end:]
		}
		if len(data) > 0 {
			return nil, nil, fmt.Errorf("%s goes on after its last entry", path)
		}
	}
	return stored, entries, nil
}

// compareTiles compares all tiles of the checkpoint with those that the entries have.
func (log log) compareTiles(newest checkpoint, stored storedHashes) (int, error) {
	tiles := tlog.NewTiles(tileHeight, 0, newest.N)
	for _, tile := range tiles {
		derived, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return 0, err
		}
		data, err := os.ReadFile(filepath.Join(log.folder, tilePath(tile)))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(data, derived) {
			return 0, fmt.Errorf("%s is not the tile of its entries", tilePath(tile))
		}
	}
	return len(tiles), nil
}

// proveEntries proves each entry from the tiles alone; their reader checks each tile against the root.
func proveEntries(newest checkpoint, reader tlog.HashReader, entries [][]byte) error {
	for index, entry := range entries {
		// Those of a tile are proved alike: of large logs, some of each.
		if len(entries) > 10_000 && index%101 > 0 {
			continue
		}
		proof, err := tlog.ProveRecord(newest.N, int64(index), reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, newest.N, newest.Hash, int64(index), tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return nil
}

func (log log) proveOlder(newest checkpoint, reader tlog.HashReader) (int, error) {
	names, err := filepath.Glob(filepath.Join(log.folder, "checkpoints", "*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		older, err := log.openFile(filepath.Join("checkpoints", filepath.Base(name)))
		if err != nil {
			return 0, err
		}
		if older.N == 0 {
			continue // every log continues an empty one
		}
		proof, err := tlog.ProveTree(newest.N, older.N, reader)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(proof, newest.N, newest.Hash, older.N, older.Hash); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return len(names), nil
}

func (log log) checkProofFiles() (int, error) {
	names, err := filepath.Glob(filepath.Join(log.folder, "proofs", "*.tlog-proof"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := log.checkProofFile(name); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return len(names), nil
}

// checkProofFile verifies a file as c2sp.org/tlog-proof says.
func (log log) checkProofFile(name string) error {
	file, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(strings.TrimSuffix(name, ".tlog-proof") + ".entry")
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(file), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a proof file")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return errors.New("it has no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	opened, err := log.open([]byte(signed))
	if err != nil {
		return err
	}
	if opened.cosigned < len(log.witnesses) {
		return fmt.Errorf("only %d of %d witnesses have cosigned it", opened.cosigned, len(log.witnesses))
	}
	return tlog.CheckRecord(proof, opened.N, opened.Hash, index, tlog.RecordHash(entry))
}

// Height, ReadTiles and SaveTiles make log a tlog.TileReader.
func (log log) Height() int { return tileHeight }

func (log log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(log.folder, tilePath(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (log log) SaveTiles([]tlog.Tile, [][]byte) {}

// tilePath is the path of c2sp.org/tlog-tiles: that of the package has the height of the tiles as well.
func tilePath(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
}

func bundlePath(index, width int64) string {
	tile := tlog.Tile{H: tileHeight, L: 0, N: index, W: int(width)}
	return "tile/entries/" + strings.TrimPrefix(tilePath(tile), "tile/0/")
}
