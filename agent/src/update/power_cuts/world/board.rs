//! The agent's board, on the card that records.

use super::{Catalog, Made, POLICY, Shop, World};

use std::rc::Rc;
use std::time::Duration;

use hypriot_keys::time::Timestamp;
use hypriot_updater::slot::Slot;

use crate::config::{Net, Settings, Windows};
use crate::update::board::Board;
use crate::update::lock::Http;

pub(super) fn board(
    world: &World,
    catalog: &Catalog,
    booted: Slot,
    tried: bool,
    running: &Made,
    offered: u8,
) -> Board {
    Board {
        settings: Settings {
            board: "test".into(),
            version: running.release().version,
            built: Timestamp(0),
            state_version: 0,
            url: Some("memory".into()),
            poll: 3600,
            policy: POLICY,
            lock: None,
            windows: Windows::default(),
            hooks: Duration::from_mins(1),
            net: Net::default(),
            stick: true,
            neighbours: false,
            local: false,
            trouble: None,
        },
        booted,
        tried,
        boot: world.boot(),
        slots: Box::new(world.clone()),
        store: Box::new(world.clone()),
        machine: Box::new(world.clone()),
        releases: Box::new(Shop {
            catalog: Rc::clone(catalog),
            offered,
        }),
        lock: Box::new(Http::new(Net::default())),
        near: None,
    }
}
