//! What is printed, by format: programs that read goss's results read ours. And what we write, goss reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypriot_agent::exec::{Cmd, Exit};
use hypriot_tests::{exec, peers};
use serde_json::Value;

const SUITE: &str = "\
file:
  /etc/passwd: {exists: true, mode: '0600', title: passwords, meta: {cis: 1.2}, contents: [root, nopenope]}
  /nope: {exists: true, mode: '0644'}
  /etc: {exists: true, filetype: directory}
command:
  'true': {exit-status: 0, skip: true}
  'echo <a> & \"b\"': {exit-status: 0, stdout: ['<a>'], timeout: 5000}
  'echo \"# TODO\"': {exit-status: 1}
kernel-param: {kernel.ostype: {value: Linux}}
matching: {m: {content: [1, 2], matches: {contain-element: 3}}}
user: {nobody-such: {exists: false}}
";
const GOOD: &str = "file: {/etc: {exists: true}, /nope: {exists: false}}\n";

struct Ran {
    text: String,
    code: i32,
}

struct Pair {
    goss: PathBuf,
    ours: PathBuf,
    dir: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        Self {
            goss: peers::GOSS.get().expect("the goss program"),
            ours: exec::workspace_program("hypriot-agent").expect("the agent"),
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        hypriot_agent::files::replace(&path, text.as_bytes(), 0o644).expect("written");
        path
    }

    fn run(&self, cmd: Cmd) -> Ran {
        let output = cmd
            .directory(self.dir.path())
            .timeout(Duration::from_mins(1))
            .keep(4 * 1024 * 1024)
            .output()
            .expect("it runs");
        let Exit::Code(code) = output.exit else {
            panic!("{}", output.exit)
        };
        Ran {
            text: String::from_utf8(output.stdout).expect("UTF-8"),
            code,
        }
    }

    fn goss(&self, args: &[&str]) -> Ran {
        self.run(Cmd::new(&self.goss).args(args))
    }

    fn ours(&self, args: &[&str]) -> Ran {
        self.run(Cmd::new(&self.ours).arg("selftest").args(args))
    }

    /// Both, with the same arguments.
    fn both(&self, file: &Path, more: &[&str]) -> (Ran, Ran) {
        let file = file.display().to_string();
        let args = [&["-g", &file, "validate", "--no-color"], more].concat();
        (self.goss(&args), self.ours(&args))
    }
}

/// Every result by its name, without times, texts, and what only we say.
fn results(ran: &Ran) -> BTreeMap<String, BTreeMap<String, Value>> {
    let json: Value = serde_json::from_str(ran.text.trim()).expect(&ran.text);
    let list = json["results"].as_array().expect("results");
    let name = |r: &Value| {
        format!(
            "{} {} {}",
            r["resource-type"], r["resource-id"], r["property"]
        )
    };
    let told = |r: &Value| {
        let keep = ["successful", "skipped", "result", "title", "meta"];
        let kept = keep.iter().map(|key| ((*key).to_owned(), r[*key].clone()));
        kept.collect::<BTreeMap<_, _>>()
    };
    list.iter().map(|r| (name(r), told(r))).collect()
}

fn keys(value: &Value) -> Vec<String> {
    let map = value.as_object().expect("a map");
    map.keys().cloned().collect()
}

#[test]
fn json_of_goss_is_read_by_who_reads_goss() {
    let pair = Pair::new();
    let suite = pair.file("suite.yaml", SUITE);
    for format in ["json", "structured"] {
        let (goss, ours) = pair.both(&suite, &["-f", format]);
        let (mut goss_says, ours_says) = (results(&goss), results(&ours));
        if format == "structured" {
            // It says there of everything that it was not successful.
            for (name, told) in &mut goss_says {
                told.insert("successful".into(), ours_says[name]["successful"].clone());
            }
        }
        assert_eq!(goss_says, ours_says, "{format}");
        let read = |ran: &Ran| serde_json::from_str::<Value>(ran.text.trim()).expect("json");
        let (goss, ours) = (read(&goss), read(&ours));
        for (goss, ours) in [
            (&goss, &ours),
            (&goss["summary"], &ours["summary"]),
            (&goss["results"][0], &ours["results"][0]),
            (
                &goss["results"][0]["matcher-result"],
                &ours["results"][0]["matcher-result"],
            ),
        ] {
            let ours = keys(ours);
            let lacking: Vec<_> = keys(goss)
                .into_iter()
                .filter(|k| !ours.contains(k))
                .collect();
            assert!(lacking.is_empty(), "{format} lacks {lacking:?}");
        }
        for count in ["test-count", "failed-count"] {
            assert_eq!(goss["summary"][count], ours["summary"][count], "{format}");
        }
    }
}

#[test]
fn lines_for_people_and_programs_are_those_of_goss() {
    let pair = Pair::new();
    let suite = pair.file("suite.yaml", SUITE);
    let sorted = |text: &str, keep: &dyn Fn(&&str) -> bool| {
        let mut lines: Vec<String> = text.lines().filter(keep).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (goss, ours) = pair.both(&suite, &["-f", "rspecish"]);
    let dots = |ran: &Ran| {
        let mut dots: Vec<char> = ran.text.lines().next().expect("dots").chars().collect();
        dots.sort_unstable();
        dots
    };
    assert_eq!(dots(&goss), dots(&ours));
    let last = |ran: &Ran| ran.text.lines().last().map(str::to_owned);
    assert_eq!((last(&goss), goss.code), (last(&ours), ours.code));

    // What was read from a stream is an object of Go's there; a difference of two texts is drawn there.
    let said = |line: &&str| line.contains(": matches expectation") || line.ends_with("skipped");
    let (goss, ours) = pair.both(&suite, &["-f", "documentation"]);
    assert_eq!(sorted(&goss.text, &said), sorted(&ours.text, &said));

    let (goss, ours) = pair.both(&suite, &["-f", "nagios", "-o", "perfdata"]);
    let untimed = |ran: &Ran| {
        let text = ran.text.replace("duration=", "Duration: ");
        let parts = text.split("Duration: ");
        let cut = |part: &str| {
            part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .to_owned()
        };
        parts.map(cut).collect::<Vec<_>>()
    };
    assert_eq!((untimed(&goss), goss.code), (untimed(&ours), ours.code));

    let (goss, ours) = pair.both(&suite, &["-f", "prometheus"]);
    let counted =
        |line: &&str| line.contains("outcomes_total") && !line.contains("run_outcomes_total{");
    assert_eq!(sorted(&goss.text, &counted), sorted(&ours.text, &counted));
    // goss says 0 and "pass" here whatever failed.
    assert_eq!((goss.code, ours.code), (0, 1));
    let (goss, ours) = pair.both(&suite, &["-f", "silent"]);
    assert_eq!((goss.text, goss.code), (ours.text, ours.code));
}

#[test]
fn tap_passes_prove_and_junit_is_read() {
    let pair = Pair::new();
    let suite = pair.file("suite.yaml", SUITE);
    let good = pair.file("good.yaml", GOOD);
    let (goss, ours) = pair.both(&suite, &["-f", "tap"]);
    let told = |ran: &Ran| {
        let lines = ran.text.lines().filter(|l| l.contains("ok "));
        let word = |l: &str| (l.starts_with("ok"), l.contains("# SKIP"));
        let mut all: Vec<_> = lines.map(word).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(told(&goss), told(&ours));
    for (file, code) in [(&good, 0), (&suite, 1)] {
        let (_, ours) = pair.both(file, &["-f", "tap"]);
        let tap = pair.file("results.tap", &ours.text);
        let proved = pair.run(Cmd::new("prove").args(["--exec", "cat"]).arg(&tap));
        assert_eq!(proved.code, code, "{}", proved.text);
        assert!(!proved.text.contains("Parse errors"), "{}", proved.text);
    }
    let program = "import sys, xml.etree.ElementTree as e\n\
        for c in sorted(e.fromstring(sys.stdin.read()), key=lambda c: c.get('name')):\n    \
        f = c.find('failure')\n    \
        assert f is None or f.text.strip()\n    \
        print(c.get('name'), f is None, c.find('skipped') is not None)\n";
    let (goss, ours) = pair.both(&suite, &["-f", "junit"]);
    let read = |ran: &Ran| {
        let cmd = Cmd::new("python3").args(["-c", program]);
        pair.run(cmd.stdin(ran.text.clone().into_bytes())).text
    };
    assert_eq!(read(&goss), read(&ours));
    assert!(read(&ours).lines().count() > 10);
}

#[test]
fn exit_codes_and_retries_are_those_of_goss() {
    let pair = Pair::new();
    let files = [
        pair.file("good.yaml", GOOD),
        pair.file("bad.yaml", "file: {/nope: {exists: true}}\n"),
        pair.file(
            "twice.yaml",
            "file: {/a: {exists: true}, /a: {exists: true}}\n",
        ),
        pair.file("none.yaml", ""),
        pair.dir.path().join("nowhere.yaml"),
    ];
    for file in &files {
        let (goss, ours) = pair.both(file, &[]);
        assert_eq!(goss.code, ours.code, "{}: {}", file.display(), ours.text);
    }
    let (goss, ours) = pair.both(&files[1], &["-r", "300ms", "-s", "100ms"]);
    assert_eq!((goss.code, ours.code), (3, 3));
    // Also what became true meanwhile.
    let late = pair.file("late.yaml", "file: {late: {exists: true}}\n");
    let place = pair.dir.path().join("late");
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        hypriot_agent::files::replace(&place, b"x", 0o644).expect("written");
    });
    let late = late.display().to_string();
    let ours = pair.ours(&["-g", &late, "validate", "-r", "20s", "-s", "100ms"]);
    assert_eq!(ours.code, 0, "{}", ours.text);
    writer.join().expect("the writer");
}

#[test]
fn what_we_add_and_render_holds_under_goss_and_the_other_way_round() {
    let pair = Pair::new();
    let wishes: [&[&str]; 9] = [
        &["file", "/etc/passwd", "/nope", "/etc/mtab"],
        &["user", "root", "nobody-such"],
        &["group", "root"],
        &["command", "echo hi; echo '!no'; echo /x"],
        &["kernel-param", "kernel.ostype"],
        &["mount", "/"],
        &["interface", "lo"],
        &["port", "1"],
        &["--exclude-attr", "o*", "file", "/etc/hosts"],
    ];
    for wish in wishes {
        let theirs = [&["-g", "theirs.yaml", "add"], wish].concat();
        assert_eq!(pair.goss(&theirs).code, 0, "{wish:?}");
        let ours = pair.ours(&[&["-g", "ours.yaml", "add"], wish].concat());
        assert_eq!(ours.code, 0, "{wish:?}: {}", ours.text);
    }
    assert_eq!(pair.ours(&["-g", "ours.yaml", "autoadd", "root"]).code, 0);
    let rendered = pair.ours(&["-g", "ours.yaml", "render"]);
    assert_eq!(rendered.code, 0);
    pair.file("rendered.yaml", &rendered.text);
    let theirs = pair.goss(&["-g", "theirs.yaml", "render"]);
    pair.file("rendered-theirs.yaml", &theirs.text);
    for name in [
        "ours.yaml",
        "rendered.yaml",
        "theirs.yaml",
        "rendered-theirs.yaml",
    ] {
        let (goss, ours) = pair.both(Path::new(name), &["-f", "json"]);
        assert_eq!((goss.code, ours.code), (0, 0), "{name}");
        assert_eq!(results(&goss), results(&ours), "{name}");
        assert!(results(&ours).len() > 30, "{name}");
    }
}

#[test]
fn forty_sleeps_take_the_time_of_one() {
    use std::fmt::Write as _;
    let pair = Pair::new();
    let mut text = "command:\n".to_owned();
    for n in 0..40 {
        writeln!(text, "  s{n}: {{exec: sleep 1, exit-status: 0}}").expect("a String");
    }
    let file = pair.file("sleeps.yaml", &text);
    // Tests at a time decide, not a clock: with less than twenty at once the run would be cut short.
    let ran = pair.ours(&[
        "-g",
        &file.display().to_string(),
        "validate",
        "--timeout",
        "15",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    let few = pair.ours(&[
        "-g",
        &file.display().to_string(),
        "validate",
        "--timeout",
        "3",
        "--max-concurrent",
        "2",
    ]);
    assert_eq!(few.code, 1, "{}", few.text);
}
