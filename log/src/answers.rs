//! The answers of a batch, by the runtimes whose tasks wait for them. Each runtime sends its own, in one task: sent from the
//! writer's thread, each answer would be a system call that wakes its runtime.

use tokio::runtime::Handle;

/// Answers that are not sent yet. Those that are dropped instead tell their callers that there is no answer.
#[derive(Default)]
pub(super) struct Answers(Vec<(Handle, Vec<SendAnswer>)>);

type SendAnswer = Box<dyn FnOnce() + Send>;

impl Answers {
    /// Adds an answer for a task of this runtime. Outside of runtimes, it is sent at once.
    pub(super) fn add(&mut self, runtime: Option<Handle>, send: impl FnOnce() + Send + 'static) {
        let Some(runtime) = runtime else { return send() };
        match self.0.iter_mut().find(|(other, _)| other.id() == runtime.id()) {
            Some((_, answers)) => answers.push(Box::new(send)),
            None => self.0.push((runtime, vec![Box::new(send)])),
        }
    }

    pub(super) fn send(self) {
        for (runtime, mut answers) in self.0 {
            if answers.len() == 1 {
                // A task would cost more than it saves.
                answers.drain(..).for_each(|send| send());
            } else {
                // Detached: it ends in its first turn, or with its runtime and the tasks that wait.
                drop(runtime.spawn(async move { answers.into_iter().for_each(|send| send()) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// Two runtimes, which run their tasks when they are driven.
    fn runtimes() -> [Runtime; 2] {
        [(); 2].map(|()| Builder::new_current_thread().build().expect("a runtime"))
    }

    #[test]
    fn each_runtime_sends_its_answers_in_one_task() {
        let (runtimes, (sender, sent)) = (runtimes(), mpsc::channel());
        let mut answers = Answers::default();
        let mut add = |runtime: Option<&Handle>, answer: usize| {
            let sender = sender.clone();
            answers.add(runtime.cloned(), move || {
                let _ = sender.send((answer, Handle::try_current().ok().map(|runtime| runtime.id())));
            });
        };
        for answer in 0..6 {
            add(Some(runtimes[answer % 2].handle()), answer);
        }
        add(None, 6);
        assert_eq!(sent.try_iter().collect::<Vec<_>>(), [(6, None)], "nobody else could send it");
        answers.send();
        assert_eq!(sent.try_iter().count(), 0);
        for (at, runtime) in runtimes.iter().enumerate() {
            assert_eq!(runtime.metrics().num_alive_tasks(), 1);
            runtime.block_on(tokio::task::yield_now());
            let id = Some(runtime.handle().id());
            assert_eq!(sent.try_iter().collect::<Vec<_>>(), [(at, id), (at + 2, id), (at + 4, id)]);
        }
    }

    #[test]
    fn one_answer_is_sent_without_a_task_and_none_is_forgotten() {
        let (runtimes, (sender, sent)) = (runtimes(), mpsc::channel());
        let mut answers = Answers::default();
        let one = sender.clone();
        answers.add(Some(runtimes[0].handle().clone()), move || {
            let _ = one.send(1);
        });
        answers.send();
        assert_eq!(sent.try_iter().collect::<Vec<_>>(), [1]);
        let mut dropped = Answers::default();
        dropped.add(Some(runtimes[0].handle().clone()), move || {
            let _ = sender.send(2);
        });
        drop(dropped);
        assert_eq!(sent.recv(), Err(mpsc::RecvError), "its sender is gone, as the caller's would be");
    }
}
