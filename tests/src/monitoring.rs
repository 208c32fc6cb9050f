//! Judges what `docs/src/how-to/monitoring` gives to owners: alert rules by the tests beside them, the dashboard's questions by
//! Prometheus' own parser, and all of it by the metrics that boards have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use regex_lite::Regex;
use serde_json::Value;

use crate::{exec, peers};

const FOLDER: &str = "docs/src/how-to/monitoring";
const DASHBOARD: &str = "grafana/hypriot.json";

/// Judges all of it; an error says what is wrong.
pub fn judge(root: &Path) -> Result<()> {
    let (folder, promtool) = (root.join(FOLDER), peers::PROMTOOL.get()?);
    let ask = |args: &[&str]| {
        let mut c = exec::command(&promtool);
        c.current_dir(&folder).args(args);
        exec::run(c, Duration::from_mins(5)).map(drop)
    };
    ask(&["check", "config", "prometheus.yml"])?;
    ask(&["test", "rules", "alerts_test.yml"])?;
    let rules = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(
        &mut rules.as_file(),
        as_rules(&questions(root)?)?.as_bytes(),
    )?;
    ask(&["check", "rules", &rules.path().display().to_string()]).context(DASHBOARD)
}

/// Metrics that alerts or the dashboard ask for and that no board has.
pub fn unknown_metrics(root: &Path) -> Result<Vec<String>> {
    let known: BTreeSet<String> = hypriot_agent::serve::metrics::catalogue()
        .into_iter()
        .map(|m| m.name)
        .collect();
    let name = Regex::new(r"\bhypriot_[a-z0-9_]+")?;
    let mut texts = questions(root)?;
    texts.push(read(root, "alerts.yml")?);
    texts.push(read(root, "alerts_test.yml")?);
    let named: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| name.find_iter(text))
        .map(|found| found.as_str())
        .collect();
    ensure!(named.len() > 10, "they ask for next to nothing: {named:?}");
    Ok(named
        .into_iter()
        .filter(|n| !known.contains(*n))
        .map(str::to_owned)
        .collect())
}

/// Alerts that no test makes fire.
pub fn untested_alerts(root: &Path) -> Result<Vec<String>> {
    let (rules, tests) = (read(root, "alerts.yml")?, read(root, "alerts_test.yml")?);
    let alert = Regex::new(r"(?m)^ +- alert: (\w+)$")?;
    let fires = |name: &str| {
        let named = format!("alertname: {name}\n");
        let after = tests.split(&named).skip(1);
        after
            .filter_map(|rest| rest.lines().next())
            .any(|line| line.trim() == "exp_alerts:")
    };
    let all: Vec<&str> = alert
        .captures_iter(&rules)
        .filter_map(|c| c.get(1).map(|m| m.as_str()))
        .collect();
    ensure!(!all.is_empty(), "there are no alerts");
    Ok(all
        .into_iter()
        .filter(|a| !fires(a))
        .map(str::to_owned)
        .collect())
}

fn read(root: &Path, name: &str) -> Result<String> {
    let path = root.join(FOLDER).join(name);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// What the dashboard asks Prometheus.
fn questions(root: &Path) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&read(root, DASHBOARD)?).context(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|p| p["targets"].as_array())
        .flatten();
    let all: Vec<String> = targets
        .filter_map(|t| t["expr"].as_str().map(str::to_owned))
        .collect();
    ensure!(
        all.len() >= panels.len(),
        "{DASHBOARD}: a panel asks nothing"
    );
    Ok(all)
}

/// The questions as recording rules, which promtool parses.
fn as_rules(questions: &[String]) -> Result<String> {
    let mut text = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (n, question) in questions.iter().enumerate() {
        // What Grafana puts in for a variable.
        let question = question.replace("$instance", ".*");
        let quoted = serde_json::to_string(&question)?;
        writeln!(text, "  - record: question_{n}\n    expr: {quoted}")?;
    }
    Ok(text)
}
