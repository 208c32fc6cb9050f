//! The program is one file: it works from an empty folder, where nothing of the checkout can be seen.

#![expect(clippy::unwrap_used, reason = "a test: helpers may panic")]

use std::path::Path;
use std::time::Duration;

use hypriot_imagegen::exec;
use hypriot_imagegen::files;

/// Runs the program in `dir`, in a world without the checkout.
fn run(dir: &Path, args: &str) -> Result<String, String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let script = format!(
        "mount -t tmpfs none '{}' && cd '{}' && exec ./hypriot-imagegen {args}",
        checkout.display(),
        dir.display()
    );
    let unshare = exec::tool("unshare").args(["--map-root-user", "--mount", "sh", "-ec", &script]);
    let done = unshare.timeout(Duration::from_mins(5)).run();
    done.map(|o| o.text()).map_err(|e| e.to_string())
}

fn alone() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_hypriot-imagegen");
    std::fs::copy(program, dir.path().join("hypriot-imagegen")).unwrap();
    dir
}

#[test]
fn the_program_alone_knows_boards_and_recipes_and_plans_an_image() {
    let dir = alone();
    let boards = run(dir.path(), "boards").unwrap();
    assert!(
        boards.contains("qemu-arm64") && boards.contains("rpi64"),
        "{boards}"
    );
    let doctor = run(dir.path(), "doctor --for image");
    assert!(!doctor.is_err_and(|e| e.contains("cloned")));
    match run(dir.path(), "plan --board qemu-arm64 --cache cache --quiet") {
        Ok(plan) => assert!(
            plan.contains("largest") && !plan.contains("lacks"),
            "{plan}"
        ),
        // Without an archive the lock cannot be made; that is said, and nothing about a project.
        Err(e) => assert!(e.contains("cannot reach") || e.contains("update"), "{e}"),
    }
}

#[test]
fn whoever_has_no_sources_is_told_to_bring_the_agent() {
    let dir = alone();
    files::replace(&dir.path().join("agent.deb"), b"!<arch>\n").unwrap();
    files::replace(&dir.path().join("closed"), b"#cloud-config\nhostname: x\n").unwrap();
    // What costs nothing to see is seen before anything is fetched or built.
    let e = run(
        dir.path(),
        "image --board qemu-arm64 --cache cache --agent agent.deb --user-data closed",
    )
    .unwrap_err();
    assert!(e.contains("nobody can log in"), "{e}");
    assert!(!dir.path().join("out").exists());
}
