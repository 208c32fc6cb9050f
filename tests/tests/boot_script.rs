//! The boot script in U-Boot itself: for each boot state, the slot it starts and what it leaves on the card are those of
//! `updater::boot::start`. There is no kernel on the card: what a start does before one is loaded is all that is asked.
#![expect(
    clippy::unwrap_used,
    reason = "a card that cannot be made has failed the test"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use hypriot_imagegen::bake::scr;
use hypriot_imagegen::formats::{Blocks, fat};
use hypriot_imagegen::image::card::signature;
use hypriot_imagegen::tree::Tree;
use hypriot_tests::board::{Hardware, VirtualBoard};
use hypriot_updater::boot::env;
use hypriot_updater::boot::script::{KernelCommand, ScriptBoard, script};
use hypriot_updater::boot::start::MAX_STARTS;
use hypriot_updater::boot::state::name;
use hypriot_updater::boot::{BootState, Copies, Phase, Spoilt, Start, Trial, start};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE, CONFIG, IMAGE_SIZE};
use hypriot_updater::mbr;
use hypriot_updater::slot::Slot;

/// U-Boot in an emulator on a busy machine.
const WITHIN: Duration = Duration::from_mins(4);

/// How the card lies in the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Card {
    Writable,
    Protected,
}

/// The blocks of both copies.
type Blocks2 = [Vec<u8>; 2];

struct Row {
    danger: &'static str,
    blocks: Blocks2,
    card: Card,
    /// The state that the script must take these blocks for.
    taken: BootState,
}

fn state(default: Slot, starts: u8, phase: Option<Phase>) -> BootState {
    BootState {
        seq: 9,
        default,
        starts,
        // the script carries these along
        failed: Some("f00d".into()),
        local: true,
        trial: phase.map(|phase| Trial {
            slot: !default,
            phase,
            id: "0123456789abcdef".into(),
            rearms: 0,
            deadline: 0x384,
        }),
        ..BootState::fresh()
    }
}

/// The first copy is new, the second one old and of another mind.
fn copies(state: &BootState) -> Blocks2 {
    let old = BootState {
        seq: state.seq - 1,
        default: !state.default,
        ..BootState::fresh()
    };
    [state.encode().unwrap(), old.encode().unwrap()]
}

#[expect(clippy::too_many_lines, reason = "a table, one row for each state")]
fn rows() -> Vec<Row> {
    let (a, b) = (Slot::A, Slot::B);
    let mut rows = Vec::new();
    for (danger, state) in [
        ("an ordinary start", state(a, 0, None)),
        (
            "the last try of the default",
            state(b, MAX_STARTS - 1, None),
        ),
        ("the default does not come up", state(a, MAX_STARTS, None)),
        (
            "the last try of the other",
            state(b, 2 * MAX_STARTS - 1, None),
        ),
        ("neither comes up", state(a, 2 * MAX_STARTS, None)),
        ("a count that is none of ours", state(b, 0xff, None)),
        ("a trial", state(a, 0, Some(Phase::Armed))),
        (
            "a trial of the last hope",
            state(b, 2 * MAX_STARTS, Some(Phase::Armed)),
        ),
        ("nobody judged the trial", state(b, 0, Some(Phase::Trying))),
        (
            "and the way back fails, too",
            state(a, MAX_STARTS, Some(Phase::Trying)),
        ),
        (
            "and all fails",
            state(a, 2 * MAX_STARTS, Some(Phase::Trying)),
        ),
        (
            "a bad trial and a bad default",
            state(a, MAX_STARTS, Some(Phase::Failed)),
        ),
    ] {
        rows.push(Row {
            danger,
            blocks: copies(&state),
            card: Card::Writable,
            taken: state,
        });
    }
    let spoilt = BootState {
        spoilt: Some(Spoilt::Unproven),
        ..state(b, 1, None)
    };
    rows.push(Row {
        danger: "what is known of the other slot is carried along",
        blocks: copies(&spoilt),
        card: Card::Writable,
        taken: spoilt,
    });
    let torn = vec![0xff; BOOT_STATE_SIZE];
    let tried = state(a, 1, Some(Phase::Armed));
    rows.push(Row {
        danger: "the older copy is torn",
        blocks: [tried.encode().unwrap(), torn.clone()],
        card: Card::Writable,
        taken: tried.clone(),
    });
    rows.push(Row {
        danger: "the first copy is torn",
        blocks: [torn.clone(), tried.encode().unwrap()],
        card: Card::Writable,
        taken: tried.clone(),
    });
    rows.push(Row {
        danger: "both copies are torn",
        blocks: [torn.clone(), torn],
        card: Card::Writable,
        taken: BootState {
            seq: 0,
            ..BootState::fresh()
        },
    });
    let of_old = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    let of_old = [
        of_old(name::SEQ, "1f"),
        of_old(name::DEFAULT, "b"),
        of_old(name::TRIAL, "none"),
        of_old(name::SLOT, "b"),
        of_old(name::ID, "-"),
        of_old(name::BOOTS, "0"),
    ];
    let of_old: Vec<_> = of_old
        .iter()
        .map(|(n, v)| (n.as_str(), v.clone()))
        .collect();
    // the newer of the two has no count; the older one's must not be taken for its own
    rows.push(Row {
        danger: "written before there was a count",
        blocks: [
            env::encode(&of_old).unwrap(),
            state(a, MAX_STARTS, None).encode().unwrap(),
        ],
        card: Card::Writable,
        taken: BootState {
            seq: 0x1f,
            default: b,
            ..BootState::fresh()
        },
    });
    for taken in [tried, state(b, MAX_STARTS, None)] {
        rows.push(Row {
            danger: "a card that cannot be written",
            blocks: copies(&taken),
            card: Card::Protected,
            taken,
        });
    }
    rows
}

/// A card with nothing on it but a partition table, the script, and the copies.
fn card(dir: &Path, blocks: &Blocks2) -> PathBuf {
    let text = script(&ScriptBoard {
        arguments: "console=ttyAMA0",
        kernel: KernelCommand::Booti,
        device_tree: None,
        addresses: None,
    });
    let mut tree = Tree::new(0);
    let boot = scr::encode(&text, "HypriotOS boot", 0).unwrap();
    tree.insert_bytes("boot.scr", 0o644, boot).unwrap();
    let options = fat::Options {
        label: "HypriotOS",
        volume_id: 1,
        size: 16 << 20,
        last: &[],
    };
    let volume = fat::plan(&tree, options).unwrap();
    let path = dir.join("card.img");
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(&path)
        .unwrap();
    file.set_len(IMAGE_SIZE).unwrap();
    let table = mbr::card(signature("x", "1.0.0")).encode().unwrap();
    for (at, sector) in table {
        file.write_all_at(&sector, at).unwrap();
    }
    let bytes = volume.bytes(0, 16 << 20).unwrap();
    file.write_all_at(&bytes, CONFIG.start).unwrap();
    for (at, block) in BOOT_STATE.into_iter().zip(blocks) {
        file.write_all_at(block, at).unwrap();
    }
    path
}

fn board(dir: &Path, blocks: &Blocks2, how: Card) -> VirtualBoard {
    let mut hardware = Hardware::virtual_board().unwrap();
    hardware.machine.memory = 256;
    hardware.machine.cpus = 1;
    if how == Card::Protected {
        for arg in &mut hardware.machine.args {
            *arg = arg.replace("@CARD@", "@CARD@,readonly=on");
        }
    }
    VirtualBoard::new(hardware, &card(dir, blocks), &dir.join("board")).unwrap()
}

fn on_card(board: &VirtualBoard) -> Blocks2 {
    let file = std::fs::File::open(board.card()).unwrap();
    BOOT_STATE.map(|at| {
        let mut block = vec![0; BOOT_STATE_SIZE];
        file.read_exact_at(&mut block, at).unwrap();
        block
    })
}

/// Starts the board once; what differs from the definition.
fn misfit(row: &Row) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut board = board(dir.path(), &row.blocks, row.card);
    board.power_on().unwrap();
    // the line that follows the decision, whole
    let line = board.wait("the decision", WITHIN, |b| {
        let console = b.console().ok()?;
        let (_, rest) = console.split_once("HypriotOS: default slot ")?;
        let (line, rest) = rest.split_once('\n')?;
        let pause = rest.contains("neither slot comes up");
        let settled = pause || rest.contains("does not load");
        settled.then(|| (line.trim().to_owned(), pause))
    });
    let (line, paused) = match line {
        Ok(line) => line,
        Err(e) => return Some(format!("{e:#}")),
    };
    board.power_off().unwrap();

    let Start {
        slot,
        write,
        unwritten,
        pause,
    } = start(&row.taken);
    let protected = row.card == Card::Protected;
    let slot = if protected { unwritten } else { slot };
    let starting = format!("starting slot {slot}, ");
    if !line.contains(&starting) || paused != pause {
        return Some(format!(
            "{line:?}, pause {paused}: not {starting:?}, pause {pause}"
        ));
    }
    let after = on_card(&board);
    let expected = match write {
        Some(state) if !protected => state,
        _ if after != row.blocks => {
            return Some("it wrote where there was nothing to write".into());
        }
        _ => return None,
    };
    let after = Copies::parse([&after[0], &after[1]]);
    let newest = after.newest().map(|(_, state)| state);
    (newest != Some(&expected)).then(|| format!("it left {newest:?}, not {expected:?}"))
}

#[test]
fn u_boot_does_what_the_definition_says_for_every_state() {
    let rows = rows();
    let (next, wrong) = (Mutex::new(rows.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(row) = next.lock().unwrap().next() else {
                        return;
                    };
                    if let Some(what) = misfit(row) {
                        let line = format!("{}: {what}", row.danger);
                        wrong.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A slot that is not whole does not load. On trial the board goes back; else the other slot has its turn at once.
#[test]
fn a_slot_that_does_not_load_costs_one_start() {
    let dir = tempfile::tempdir().unwrap();
    let armed = state(Slot::A, 0, Some(Phase::Armed));
    let mut board = board(dir.path(), &copies(&armed), Card::Writable);
    board.power_on().unwrap();
    let said = board.wait("the way back", WITHIN, |b| {
        let console = b.console().ok()?;
        let (first, second) = console.split_once("trial lost, starting slot a")?;
        second
            .contains("last resort, starting slot b")
            .then(|| first.to_owned())
    });
    let said = said.unwrap();
    assert!(said.contains("trial trying, starting slot b"), "{said}");
    assert!(said.contains("slot b does not load"), "{said}");
    assert!(
        !said.contains("last resort"),
        "a trial is tried alone: {said}"
    );
}
