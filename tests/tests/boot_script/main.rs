//! The boot script in U-Boot itself: for each boot state, the slot it starts and what it leaves on the card are those of
//! `updater::boot::start`, and what it takes from an owner's file is that of `updater::boot::owner`. There is no kernel on the
//! card: what a start does before one is loaded is all that is asked.
#![expect(
    clippy::unwrap_used,
    reason = "a card that cannot be made has failed the test"
)]

mod rows;

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
use hypriot_updater::boot::script::{KernelCommand, ScriptBoard, script};
use hypriot_updater::boot::{Copies, Phase, Start, owner, start};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE, CONFIG, IMAGE_SIZE};
use hypriot_updater::mbr;
use hypriot_updater::slot::Slot;
use rows::{Arithmetic, Blocks2, Card, Row, copies, files, rows, state, without_arithmetic};

/// U-Boot in an emulator on a busy machine.
const WITHIN: Duration = Duration::from_mins(4);

/// A card with nothing on it but a partition table, the script, and the copies.
fn card(dir: &Path, row: &Row) -> PathBuf {
    let mut text = script(&ScriptBoard {
        arguments: "console=ttyAMA0",
        kernel: KernelCommand::Booti,
        device_tree: None,
        addresses: None,
    });
    if row.arithmetic == Arithmetic::Missing {
        text = text.replace("setexpr ", "nosetexpr ");
    }
    let mut tree = Tree::new(0);
    if let Some(file) = &row.file {
        tree.insert_bytes(owner::FILE, 0o644, file).unwrap();
    }
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
    for (at, block) in BOOT_STATE.into_iter().zip(&row.blocks) {
        file.write_all_at(block, at).unwrap();
    }
    path
}

fn board(dir: &Path, row: &Row) -> VirtualBoard {
    let mut hardware = Hardware::virtual_board().unwrap();
    hardware.machine.memory = 256;
    hardware.machine.cpus = 1;
    if row.card == Card::Protected {
        for arg in &mut hardware.machine.args {
            *arg = arg.replace("@CARD@", "@CARD@,readonly=on");
        }
    }
    VirtualBoard::new(hardware, &card(dir, row), &dir.join("board")).unwrap()
}

fn on_card(board: &VirtualBoard) -> Blocks2 {
    let file = std::fs::File::open(board.card()).unwrap();
    BOOT_STATE.map(|at| {
        let mut block = vec![0; BOOT_STATE_SIZE];
        file.read_exact_at(&mut block, at).unwrap();
        block
    })
}

/// What the console says of one start.
struct Said {
    decision: String,
    pause: bool,
    arguments: String,
}

/// Starts the board once; what differs from the definition.
fn misfit(row: &Row) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut board = board(dir.path(), row);
    board.power_on().unwrap();
    // the lines that follow the decision, whole
    let said = board.wait("the decision", WITHIN, |b| {
        let console = b.console().ok()?;
        let line = |rest: &str, what: &str| {
            Some(
                rest.split_once(what)?
                    .1
                    .split_once('\n')?
                    .0
                    .trim()
                    .to_owned(),
            )
        };
        let (_, rest) = console.split_once("HypriotOS: default slot ")?;
        let decision = rest.split_once('\n')?.0.trim().to_owned();
        let pause = rest.contains("neither slot comes up");
        let arguments = line(rest, "HypriotOS: arguments ");
        let settled = pause || rest.contains("does not load");
        settled.then(|| Said {
            decision,
            pause,
            arguments: arguments.unwrap_or_default(),
        })
    });
    let said = match said {
        Ok(said) => said,
        Err(e) => return Some(format!("{e:#}")),
    };
    board.power_off().unwrap();
    misfit_of_words(row, &said).or_else(|| misfit_of_card(row, &on_card(&board)))
}

/// What the definition says of a start that is written, or cannot be.
fn expected(row: &Row) -> (Start, Slot) {
    let mut start = start(&row.taken);
    if row.arithmetic == Arithmetic::Missing
        && let Some(write) = &mut start.write
    {
        write.seq = row.taken.seq;
    }
    let slot = match row.card {
        Card::Protected => start.unwritten,
        Card::Writable => start.slot,
    };
    (start, slot)
}

fn misfit_of_words(row: &Row, said: &Said) -> Option<String> {
    let (start, slot) = expected(row);
    let starting = format!("starting slot {slot}, ");
    if !said.decision.contains(&starting) || said.pause != start.pause {
        return Some(format!(
            "{:?}, pause {}: not {starting:?}, pause {}",
            said.decision, said.pause, start.pause
        ));
    }
    if said.pause {
        return None;
    }
    let (owner, used) = match &row.file {
        None => (owner::Owner::default(), owner::Use::None),
        Some(file) => {
            let starts = start.write.as_ref().map_or(u8::MAX, |s| s.starts);
            let counted = row.card == Card::Writable && starts <= owner::STARTS;
            match owner::read(file) {
                _ if !counted => (owner::Owner::default(), owner::Use::Left),
                Ok((owner, _)) if row.arithmetic == Arithmetic::There => (owner, owner::Use::Used),
                _ => (owner::Owner::default(), owner::Use::Bad),
            }
        }
    };
    let words = owner
        .cmdline
        .map_or_else(String::new, |w| format!("{w} {} ", owner::BEHIND));
    let disk = signature("x", "1.0.0");
    let part = if slot == Slot::A { 2 } else { 3 };
    let arguments = format!(
        "console=ttyAMA0 {words}panic=5 {}={} hypriot.slot={slot} hypriot.disk={disk:08x}-0{part}",
        owner::ARG,
        used.name()
    );
    // `echo` puts one space between its arguments
    let one_space = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (found, wanted) = (one_space(&said.arguments), one_space(&arguments));
    (found != wanted).then(|| format!("the kernel is told {found:?}, not {wanted:?}"))
}

fn misfit_of_card(row: &Row, after: &Blocks2) -> Option<String> {
    let (start, _) = expected(row);
    let expected = match start.write {
        Some(state) if row.card == Card::Writable => state,
        _ if *after != row.blocks => {
            return Some("it wrote where there was nothing to write".into());
        }
        _ => return None,
    };
    let after = Copies::parse([&after[0], &after[1]]);
    let newest = after.newest().map(|(_, state)| state);
    (newest != Some(&expected)).then(|| format!("it left {newest:?}, not {expected:?}"))
}

/// Runs the rows, two at a time.
fn all_fit(rows: &[Row]) {
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

#[test]
fn u_boot_does_what_the_definition_says_for_every_state() {
    all_fit(&rows());
}

#[test]
fn u_boot_takes_of_an_owners_file_what_the_definition_says() {
    all_fit(&files());
}

#[test]
fn a_u_boot_without_arithmetic_tries_and_comes_back_all_the_same() {
    all_fit(&without_arithmetic());
}

/// A slot that is not whole does not load. On trial the board goes back; else the other slot has its turn at once.
#[test]
fn a_slot_that_does_not_load_costs_one_start() {
    let dir = tempfile::tempdir().unwrap();
    let armed = state(Slot::A, 0, Some(Phase::Armed));
    let row = Row {
        blocks: copies(&armed),
        taken: armed,
        ..Row::default()
    };
    let mut board = board(dir.path(), &row);
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
