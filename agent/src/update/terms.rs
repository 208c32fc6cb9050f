//! A look at what stands between a slot that is ready and the restart that tries it.

use hypriot_updater::decide::{Offer, Prepared, Service, Terms, Window};
use hypriot_updater::record::Record;
use hypriot_updater::slot::Digest;

use super::board::{Board, Session};

impl Board {
    /// Looks. What costs a process each time is only looked at when something may come of it.
    pub(super) fn terms(&self, session: &Session, record: &Record, offer: &Offer) -> Terms {
        let uptime = self.machine.uptime();
        let offered = match offer {
            Offer::Release { release, .. } if release.version > self.settings.version => {
                Some(&release.digest)
            }
            _ => None,
        };
        let release = record
            .pending
            .as_ref()
            .map(|p| &p.release.digest)
            .or(offered);
        let (clock, floor) = (
            self.machine.now(),
            self.releases.floor().unwrap_or(self.settings.built),
        );
        Terms {
            now: clock.max(floor),
            window: release.map_or(Window::Open, |release| self.window(release)),
            inhibitors: release.map_or_else(Vec::new, |_| self.machine.inhibitors()),
            lock: Service {
                set: self.settings.lock.is_some(),
                later: session.lock.later(uptime),
                steady: session.steady,
                told: session.told,
            },
            prepared: match session.preparing.later(uptime) {
                Some(why) => Prepared::Later(why),
                None if release.is_some() && session.prepared.as_ref() == release => Prepared::Yes,
                None => Prepared::No,
            },
            after: session.after.later(uptime),
        }
    }

    /// Whether the owner's windows let `release` be tried now.
    fn window(&self, release: &Digest) -> Window {
        let windows = &self.settings.windows;
        if windows.list.is_empty() {
            return Window::Open;
        }
        let floor = self.releases.floor().unwrap_or(self.settings.built);
        let clock = self.machine.now();
        if clock < floor || !self.machine.clock_is_right() {
            return Window::NoClock;
        }
        // without an id of its own a board takes its turn with all others that have none
        let id = self.machine.id().unwrap_or_default();
        windows.judge(&id, release, clock)
    }
}
