//! The virtual board itself, without an image: what the tests of the whole path stand on.
#![expect(
    clippy::unwrap_used,
    reason = "a board that cannot be made has failed the test"
)]

use std::time::Duration;

use hypriot_tests::board::{Hardware, VirtualBoard};

fn blank(dir: &std::path::Path) -> VirtualBoard {
    let image = dir.join("blank.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let mut hardware = Hardware::virtual_board().unwrap();
    hardware.card = 64 << 20;
    hardware.machine.memory = 256;
    VirtualBoard::new(hardware, &image, &dir.join("board")).unwrap()
}

#[test]
fn a_board_speaks_loses_power_and_speaks_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = blank(dir.path());
    for _ in 0..2 {
        board.power_on().unwrap();
        assert!(board.power_on().is_err(), "it is on already");
        board
            .wait_console("U-Boot 20", Duration::from_mins(1))
            .unwrap();
        assert_eq!(
            board.qmp("query-status", serde_json::json!({})).unwrap()["running"],
            true
        );
        board.power_off().unwrap();
        assert!(board.check_running().is_err());
    }
}

#[test]
fn waiting_in_vain_shows_the_console() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = blank(dir.path());
    board.power_on().unwrap();
    board
        .wait_console("U-Boot 20", Duration::from_mins(1))
        .unwrap();
    let e = board
        .wait_console("no such words", Duration::from_secs(1))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("no such words") && e.contains("U-Boot 20"),
        "{e}"
    );
}

#[test]
fn a_machine_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = blank(dir.path());
    std::fs::remove_file(board.card()).unwrap();
    board.power_on().unwrap();
    let e = board
        .wait_console("U-Boot", Duration::from_secs(20))
        .unwrap_err()
        .to_string();
    assert!(e.contains("card.img"), "{e}");
}
