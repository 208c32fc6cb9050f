//! Finding files: those of the image, which the owner replaces or masks by name, and what they include.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use super::{Suite, Test, is_owners, read};
use crate::files;
use crate::selftest::template::{self, Vars};
use crate::selftest::{glob, yaml};

/// Files that include files that include files, as goss.
const INCLUDES: usize = 50;
/// Tests of one suite.
const TESTS: usize = 20_000;
/// Files of one suite.
const FILES: usize = 2_000;

/// Reads the tests of `dirs` (a directory, or one file). A file in a later directory replaces the one with the same
/// name in an earlier one, an empty file masks it. `vars.yaml` beside the tests holds what their templates use.
pub fn load(dirs: &[PathBuf]) -> Suite {
    load_with(dirs, &Vars::default())
}

/// The same, with variables for templates, which win over `vars.yaml`.
pub fn load_with(dirs: &[PathBuf], given: &Vars) -> Suite {
    let mut chosen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut loader = Loader::default();
    for directory in dirs {
        let entries = if directory.is_dir() {
            list(directory)
        } else {
            one(directory)
        };
        match entries {
            Ok(entries) => chosen.extend(entries.into_iter().filter_map(|path| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((name, path))
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => loader
                .suite
                .problems
                .push((directory.clone(), error.to_string())),
        }
    }
    for path in chosen.values() {
        let vars = loader.vars(path, given);
        loader.file(path, &vars, INCLUDES);
    }
    loader.suite(chosen.values())
}

/// Tests that come on stdin.
const STDIN: &str = "-";

fn one(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path != Path::new(STDIN) {
        path.symlink_metadata()?;
    }
    Ok(vec![path.to_owned()])
}

const VARS: [&str; 3] = ["vars.yaml", "vars.yml", "vars.json"];

fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let known = path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') || VARS.contains(&&*name)
        });
        if known && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Tests by kind and key, in the order in which they were first met.
#[derive(Default)]
struct Tests {
    list: Vec<Test>,
    places: HashMap<(&'static str, String), usize>,
}

impl Tests {
    /// Adds a test; a later one of the same name wins. Gives the name of what it replaced.
    fn add(&mut self, test: Test) -> Option<(&'static str, String)> {
        let name = (test.schema.name, test.key.clone());
        if let Some(at) = self.places.get(&name) {
            self.list[*at] = test;
            return Some(name);
        }
        self.places.insert(name, self.list.len());
        self.list.push(test);
        None
    }
}

#[derive(Default)]
struct Loader {
    suite: Suite,
    /// Tests of each file that was asked for, with those of its includes.
    files: HashMap<PathBuf, Tests>,
    /// What the templates of a folder see.
    vars: HashMap<PathBuf, Vars>,
    /// Files that another file includes: they are no suites of their own.
    included: BTreeSet<PathBuf>,
    read: usize,
}

impl Loader {
    /// What the templates beside `path` see.
    fn vars(&mut self, path: &Path, given: &Vars) -> Vars {
        let directory = path.parent().unwrap_or(Path::new("."));
        if let Some(vars) = self.vars.get(directory) {
            return vars.clone();
        }
        let vars = self.read_vars(directory, given);
        self.vars.insert(directory.to_owned(), vars.clone());
        vars
    }

    fn read_vars(&mut self, directory: &Path, given: &Vars) -> Vars {
        let Some(file) = VARS
            .iter()
            .map(|name| directory.join(name))
            .find(|file| file.is_file())
        else {
            return given.clone();
        };
        let text = files::read_text(&file, yaml::LIMIT).map_err(|error| error.source.to_string());
        match text.and_then(|text| Vars::new(Some(&text), None)) {
            Ok(vars) => vars.with(given),
            Err(what) => {
                self.suite.problems.push((file, what));
                given.clone()
            }
        }
    }

    /// Reads a file that stands for itself.
    fn file(&mut self, path: &Path, vars: &Vars, depth: usize) {
        match self.tests(path, vars, depth) {
            Ok(tests) => drop(self.files.insert(path.to_owned(), tests)),
            Err((path, what)) => self.suite.problems.push((path, what)),
        }
    }

    /// The tests of a file and of those that it includes, which win.
    fn tests(
        &mut self,
        path: &Path,
        vars: &Vars,
        depth: usize,
    ) -> Result<Tests, (PathBuf, String)> {
        let fail = |what: String| (path.to_owned(), what);
        self.read += 1;
        if depth == 0 || self.read > FILES {
            return Err(fail(format!(
                "more than {INCLUDES} levels of gossfile, or {FILES} files: does one include itself?"
            )));
        }
        let text = text_of(path).map_err(fail)?;
        let text = template::render(&text, vars).map_err(|error| fail(error.to_string()))?;
        let json = path == Path::new(STDIN) || path.extension().is_some_and(|e| e == "json");
        let read =
            read::parse(&text, json).map_err(|p| fail(format!("line {}: {}", p.line, p.what)))?;
        let mut tests = Tests::default();
        for test in read.tests {
            // No file says the same twice.
            drop(tests.add(test));
        }
        self.suite.warnings.extend(
            read.warnings
                .into_iter()
                .map(|what| (path.to_owned(), what)),
        );
        let base = path.parent().unwrap_or(Path::new(".")).to_owned();
        let mut includes = read.includes;
        includes.sort();
        for pattern in includes {
            let found = glob::files(&plain(&base.join(&pattern)));
            if found.is_empty() {
                return Err(fail(format!("no such gossfile: {pattern}")));
            }
            for included in found {
                self.included.insert(real(&included));
                let inner = self.tests(&included, vars, depth - 1)?;
                for (kind, key) in inner.list.into_iter().filter_map(|test| tests.add(test)) {
                    let what = format!(
                        "{kind}: {key} is also in {}, which counts",
                        included.display()
                    );
                    self.suite.warnings.push((path.to_owned(), what));
                }
            }
        }
        Ok(tests)
    }

    /// Everything that was read, in the order of the files.
    fn suite<'a>(mut self, order: impl Iterator<Item = &'a PathBuf>) -> Suite {
        let mut ids: HashMap<String, PathBuf> = HashMap::new();
        for path in order {
            let included = self.included.contains(&real(path));
            let Some(tests) = self.files.remove(path).filter(|_| !included) else {
                continue;
            };
            for mut test in tests.list {
                test.owner = is_owners(path);
                let id = format!("{}:{}", test.schema.name, test.key);
                if let Some(other) = ids.get(&id) {
                    let what = format!("{id} is asserted in {} too; keep one", other.display());
                    self.suite.problems.push((path.clone(), what));
                } else if self.suite.tests.len() >= TESTS {
                    self.suite
                        .problems
                        .push((path.clone(), format!("more than {TESTS} tests")));
                    return self.suite;
                } else {
                    ids.insert(id, path.clone());
                    self.suite.tests.push(test);
                }
            }
        }
        self.suite
    }
}

/// What a file says. Who starts us may hand over a pipe, `-` or the shell's `<(...)`, and waits for it with us; a pipe or a
/// device that has a name in a directory is no file, and waited for by nobody.
pub(in crate::selftest) fn text_of(path: &Path) -> Result<String, String> {
    let handed_over = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    if path != Path::new(STDIN) && !handed_over {
        return files::read_text(path, yaml::LIMIT).map_err(|error| error.source.to_string());
    }
    let mut text = String::new();
    let read = if handed_over {
        let pipe = std::fs::File::open(path);
        pipe.and_then(|pipe| pipe.take(yaml::LIMIT + 1).read_to_string(&mut text))
    } else {
        let stdin = std::io::stdin().lock();
        stdin.take(yaml::LIMIT + 1).read_to_string(&mut text)
    };
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > yaml::LIMIT {
        return Err(format!("larger than {} bytes", yaml::LIMIT));
    }
    Ok(text)
}

/// The text of a file after its templates.
pub(in crate::selftest) fn expanded(path: &Path, vars: &Vars) -> Result<String, String> {
    template::render(&text_of(path)?, vars).map_err(|error| error.to_string())
}

/// `a/../b` is `b`, as Go joins paths.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
