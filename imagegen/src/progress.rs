//! Owns how progress is shown: bars on a terminal, plain lines elsewhere, nothing when quiet.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

/// Stages may lie in each other: all bars of the program share the terminal, a line each.
static TERMINAL: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// A bar for each stage.
    Bars,
    /// One line when a stage ends.
    Lines,
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Bars if standard error is a terminal, else lines.
    pub fn auto() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars
        } else {
            Self::Lines
        }
    }

    /// Begins a stage of `total` steps.
    pub fn steps(self, name: &str, total: u64) -> Stage {
        self.stage(
            name,
            total,
            "{prefix:>12} [{bar:28}] {pos}/{len} {wide_msg}",
        )
    }

    /// Begins a stage of `total` bytes.
    pub fn bytes(self, name: &str, total: u64) -> Stage {
        self.stage(
            name,
            total,
            "{prefix:>12} [{bar:28}] {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}",
        )
    }

    /// Says something that stays on the screen.
    pub fn note(self, text: &str) {
        match self {
            Self::Bars => TERMINAL.suspend(|| eprintln!("{text}")),
            Self::Lines => eprintln!("{text}"),
            Self::Quiet => {}
        }
    }

    fn stage(self, name: &str, total: u64, template: &str) -> Stage {
        let hidden = ProgressDrawTarget::hidden();
        let bar = ProgressBar::with_draw_target(Some(total), hidden);
        let bar = match self {
            Self::Bars => TERMINAL.add(bar),
            Self::Lines | Self::Quiet => bar,
        };
        bar.set_style(
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_bad| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Stage {
            bar,
            name: name.to_owned(),
            begun: Instant::now(),
            progress: self,
        }
    }
}

/// A stage under way. May be shared by threads.
#[derive(Debug)]
pub struct Stage {
    bar: ProgressBar,
    name: String,
    begun: Instant,
    progress: Progress,
}

impl Stage {
    /// Goes on by `n`.
    pub fn add(&self, n: u64) {
        self.bar.inc(n);
    }

    /// How far it is.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Shows what is being done now.
    pub fn now(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Says something that stays, while it goes on.
    pub fn note(&self, text: &str) {
        self.progress.note(text);
    }

    /// Ends the stage with a summary.
    pub fn done(self, summary: &str) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.progress
            .note(&format!("{:>12}  {summary} ({seconds:.1} s)", self.name));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
