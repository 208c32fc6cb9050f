//! What the papers say is true: links lead somewhere, commands and files that pages name are there, reference pages are as the
//! code writes them, and shell blocks that are marked `sh,run` run.
#![expect(
    clippy::unwrap_used,
    reason = "a project that cannot be read has failed the test"
)]

use std::time::Duration;

use hypriot_tests::exec;
use hypriot_tests::factory::Factory;
use hypriot_tests::monitoring;
use hypriot_tests::papers::truth::Project;
use hypriot_tests::papers::{pages, reference, root};

/// A front page that takes longer to read is not read.
const README_LINES: usize = 200;

/// The project with its programs built.
fn project() -> Project {
    Factory::new().unwrap().programs().unwrap();
    Project::read(&root()).unwrap()
}

/// Fails with every breach at once.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

#[test]
fn links_lead_somewhere() {
    none("these lead nowhere", &project().broken_links());
}

#[test]
fn files_that_pages_name_are_there() {
    none("there is no such path", &project().missing_paths().unwrap());
}

#[test]
fn tests_that_pages_name_are_there() {
    none("there is no such test", &project().missing_tests().unwrap());
}

#[test]
fn commands_that_pages_name_are_there() {
    none(
        "there is no such command",
        &project().unknown_commands().unwrap(),
    );
}

#[test]
fn pages_that_the_code_names_are_there() {
    none(
        "the code cites what nobody can read",
        &project().unknown_citations().unwrap(),
    );
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    none("add it to docs/src/SUMMARY.md", &project().unlisted_pages());
}

#[test]
fn reference_pages_are_what_the_code_says() {
    Factory::new().unwrap().programs().unwrap();
    let stale: Vec<String> = pages::all(&root())
        .unwrap()
        .iter()
        .filter(|page| reference::fill(&root(), page).unwrap() != page.text)
        .map(|page| page.path.clone())
        .collect();
    none("run `make docs-reference` and look at what changes", &stale);
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_boards_have() {
    let root = root();
    none("no board has", &monitoring::unknown_metrics(&root).unwrap());
    none(
        "no test makes it fire",
        &monitoring::untested_alerts(&root).unwrap(),
    );
    monitoring::judge(&root).unwrap();
}

#[test]
fn the_front_page_is_short() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(
        lines <= README_LINES,
        "README.md: {lines} lines, limit {README_LINES}"
    );
}

#[test]
fn shell_blocks_marked_to_be_run_run() {
    let project = project();
    let programs = exec::workspace_program("hypriot-imagegen").unwrap();
    let path = format!(
        "{}:{}",
        programs.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut ran = 0;
    for (page, content) in project.pages() {
        // The blocks of one page follow each other, in one folder of their own.
        let dir = tempfile::tempdir().unwrap();
        for block in content.blocks.iter().filter(|b| b.is_run()) {
            let mut sh = exec::command("sh");
            sh.args(["-euc", &block.text])
                .current_dir(dir.path())
                .env("PATH", &path)
                .env("PROJECT", root())
                .env("HYPRIOT_KEYS_PASSPHRASE", "of a page");
            exec::run(sh, Duration::from_mins(5))
                .unwrap_or_else(|e| panic!("{}:{}: {e:#}", page.path, block.line));
            ran += 1;
        }
    }
    assert!(ran > 0, "no page has a block that is run");
}
