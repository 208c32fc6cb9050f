//! Tells somebody at a terminal what is going on: numbered steps in plain words, the time each took, a summary.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Prints to standard output, which a person reads.
#[derive(Debug)]
pub struct Narrator {
    terminal: bool,
    total: usize,
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl Narrator {
    /// A narrator of `total` steps.
    pub fn new(total: usize) -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            total,
            began: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs one step under its name and keeps its time.
    pub fn step<T, E>(
        &mut self,
        words: &str,
        act: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let number = self.done.len() + 1;
        self.say(&format!("\n[{number}/{}] {words}", self.total));
        let began = Instant::now();
        let result = act(self);
        self.clear();
        let took = began.elapsed();
        if result.is_ok() {
            self.say(&format!("      done in {}", seconds(took)));
        }
        self.done.push((words.to_owned(), took));
        result
    }

    /// Prints something that stays.
    #[expect(clippy::print_stdout, reason = "this is what the narrator is for")]
    pub fn say(&self, text: &str) {
        self.clear();
        println!("{text}");
    }

    /// Shows what is awaited at the moment; only on a terminal, where it can be overwritten.
    #[expect(clippy::print_stdout, reason = "this is what the narrator is for")]
    pub fn now(&self, text: &str) {
        if self.terminal {
            let line: String = text.chars().filter(|c| !c.is_control()).take(90).collect();
            print!("\r\x1b[2K      {line}");
            // A terminal that went away is no reason to stop.
            drop(std::io::stdout().flush());
        }
    }

    #[expect(clippy::print_stdout, reason = "this is what the narrator is for")]
    fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
    }

    /// Prints the time of every step.
    pub fn summary(&self) {
        self.say("\nSummary");
        for (words, took) in &self.done {
            self.say(&format!("  {:>8}  {words}", seconds(*took)));
        }
        self.say(&format!("  {:>8}  in all", seconds(self.began.elapsed())));
    }
}

/// A time in words: `3.2 s`, `12:04 min`.
pub fn seconds(took: Duration) -> String {
    let s = took.as_secs();
    if s < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{}:{:02} min", s / 60, s % 60)
    }
}
