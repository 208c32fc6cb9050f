//! Agents of two versions over the same `/data`: the slot on trial and the one that takes over.

use hypriot_updater::health::{Severity, TestResult};
use hypriot_updater::record::{Outcome, Record};
use hypriot_updater::slot::{Digest, Slot};
use serde_json::{Value, json};

use super::faults::{Config, Data, Fleet, Raw, Software};
use super::world::World;
use super::{PHASES, Planted, judge, reached};
use crate::update::store::FailureReport;

/// What only a newer version writes.
const NEW: &str = "next_thing";

/// The same as a newer agent would say it: more keys wherever there are some.
pub(super) fn dressed(bytes: &[u8]) -> Vec<u8> {
    fn dress(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(dress);
                map.insert(NEW.into(), json!({"since": 3}));
            }
            Value::Array(list) => list.iter_mut().for_each(dress),
            _ => (),
        }
    }
    let mut value = serde_json::from_slice(bytes).expect("JSON");
    dress(&mut value);
    serde_json::to_vec(&value).expect("JSON")
}

#[test]
fn agents_of_two_versions_share_the_data_in_both_directions() {
    let mut cells = 0;
    for newer in [Slot::A, Slot::B] {
        for software in Software::ALL {
            for data in [Data::Fine, Data::Full, Data::ReadOnly, Data::Slow] {
                for phase in PHASES {
                    let cell = format!("newer in {newer}: {software:?} {data:?} {phase:?}");
                    let mut world = World::new(software, Planted::No, Fleet::None);
                    world.newer_in(newer);
                    world.until(|w, step| reached(phase, w, step));
                    world.strike(data, Config::Fine, Raw::Fine);
                    world.rest();
                    world.orderly_reboot();
                    world.rest();
                    world.mend();
                    world.orderly_reboot();
                    world.rest();
                    assert_eq!(judge(&world, software), Ok(()), "{cell}");
                    let record = world.record();
                    let (tried, back) = (world.tries() > 0, world.booted() == Slot::A);
                    if tried && back && !software.passes() {
                        let refused = record.refusal(&super::ports::release().digest);
                        let known = refused.is_some() || world.see().boot.failed.is_some();
                        assert!(known, "{cell}: what failed comes again: {record:?}");
                    }
                    let before = world.tries();
                    world.rest();
                    assert_eq!(world.tries(), before, "{cell}: it is tried again");
                    // the older one carries along what it does not know
                    let wrote = newer == Slot::A || tried && matches!(software, Software::Good);
                    if wrote && data == Data::Fine && record != Record::default() {
                        assert!(record.other.contains_key(NEW), "{cell}: {record:?}");
                    }
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 2 * 7 * 4 * 7);
}

#[test]
fn records_and_reports_of_other_versions_are_read() {
    macro_rules! fixture {
        ($day:literal, $file:literal) => {
            include_bytes!(concat!("../../../testdata/versions/", $day, "/", $file))
        };
    }
    let bytes: [(&str, &[u8], &[u8]); 3] = [
        (
            "2026-11-26",
            fixture!("2026-11-26", "record.json"),
            fixture!("2026-11-26", "failure.json"),
        ),
        (
            "2026-11-27",
            fixture!("2026-11-27", "record.json"),
            fixture!("2026-11-27", "failure.json"),
        ),
        (
            "next",
            fixture!("next", "record.json"),
            fixture!("next", "failure.json"),
        ),
    ];
    for (version, record, failure) in bytes {
        let record = Record::parse(record).expect(version);
        let content = |slot| record.content(slot).map(|r| r.version.major);
        let contents = (content(Slot::A), content(Slot::B));
        assert_eq!(contents, (Some(1), Some(2)), "{version}");
        let pending = record.pending.as_ref().expect(version);
        assert_eq!((pending.slot, pending.ignored), (Slot::B, 1), "{version}");
        let docker = TestResult {
            id: "service:docker:running".into(),
            severity: Severity::Required,
            passed: false,
            found: "false".into(),
            cut_short: false,
        };
        assert_eq!(pending.baseline, [docker], "{version}");
        let last = record.last.as_ref().expect(version);
        assert_eq!(last.outcome, Outcome::Confirmed, "{version}");
        assert!(
            record.refusal(&Digest([9; 32])).is_some(),
            "{version}: what failed comes again"
        );
        let again = Record::parse(&record.encode()).expect(version);
        assert_eq!(again, record, "{version}");
        let report: FailureReport = serde_json::from_slice(failure).expect(version);
        assert_eq!(report.trial, "0202020202020202", "{version}");
        assert_eq!(report.reasons, ["service:docker:running"], "{version}");
        assert_eq!(report.failed_units, ["docker.service"], "{version}");
    }
    let today = bytes[1].1;
    let written = Record::parse(today).expect("today's").encode();
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    assert_eq!(
        value(&written),
        value(today),
        "today's format changed: add a fixture, change none"
    );
    assert!(
        Record::parse(bytes[2].1)
            .expect("next's")
            .other
            .contains_key(NEW)
    );
}
