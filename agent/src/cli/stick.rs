//! `hypriot-agent stick DEVICE`, which udev has systemd start: as long as the stick is in, this program says how it went.

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;

use super::slots;
use crate::paths::CARD;
use crate::stick::{self, Leave, NOTE, Places};
use crate::update::board::Session;
use crate::update::machine;

fn places() -> Places<'static> {
    Places {
        sys: Path::new("/sys"),
        note: Path::new(NOTE),
        card: Path::new(CARD),
    }
}

pub(super) fn take(device: &Path) -> anyhow::Result<Infallible> {
    let places = places();
    let board = super::open()?;
    let leave = if !board.settings.stick {
        Leave::Forbidden
    } else if board.see(&Session::default()).on_trial().is_some() {
        Leave::OnTrial
    } else {
        Leave::Given
    };
    drop(board);
    let (note, _shown) = stick::take(
        &places,
        leave,
        || stick::open(device, &places),
        |repository| slots::by_hand(&repository.display().to_string()),
        machine::clock,
    )?;
    tracing::info!("{}: {}", device.display(), note.said);
    // Until systemd ends this, because the stick is gone: the LED needs somebody who switches it, and the note goes with the unit.
    loop {
        std::thread::park();
    }
}

/// The stick was pulled.
pub(super) fn gone() -> anyhow::Result<ExitCode> {
    stick::gone(&places())?;
    Ok(ExitCode::SUCCESS)
}
