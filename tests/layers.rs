//! Checks by reading `src/` as text which module names which, by the table of the crate's first page, and where foreign
//! crates and the clock may be named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules, from the top row to the bottom row. Those of one row do not name each other.
const ROWS: [&[&str]; 12] = [
    &["nats", "testing"],
    &["node"],
    &["poll", "actor"],
    &["net", "process"],
    &["meta"],
    &["bridge"],
    &["proto", "scheduler"],
    &["message", "record"],
    &["error", "inspect", "time"],
    &["id", "memory", "tls"],
    &["base"],
    &["simulation"],
];

/// The halves of the runtime, which never name each other.
const HALVES: [&[&str]; 2] = [&["poll", "net", "proto"], &["actor", "process"]];

/// Where a text may occur: in files whose path begins like this.
const PLACES: [(&str, &[&str]); 8] = [
    ("mio::", &["poll/", "meta/", "net/"]),
    ("socket2::", &["net/"]),
    ("use nix::", &["net/pktinfo.rs"]),
    (
        "rustls::",
        &["proto/tls/", "tls/", "net/options/", "net/tcp/tls.rs"],
    ),
    // The blocking waits of a stop and of calls from outside; everything else gets `now` as an argument.
    (
        "Instant::now",
        &[
            "time/clock.rs",
            "bridge/monitor.rs",
            "bridge/request.rs",
            "bridge/request/pending.rs",
            "node/mod.rs",
            "node/stop.rs",
            "node/stop/notify.rs",
        ],
    ),
    // The wait behind a poll that has failed: nothing can wake it.
    ("thread::sleep", &["poll/poller.rs"]),
    (".unwrap()", &[]),
    ("unsafe ", &[]),
];

/// A file of the crate: its path below `src`, and its code without comments and tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        let first = self.path.split('/').next().expect("a path");
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let texts: BTreeMap<String, String> = paths
        .iter()
        .map(|path| {
            let below = path
                .strip_prefix(&root)
                .expect("below src")
                .to_str()
                .expect("a name")
                .to_owned();
            (below, fs::read_to_string(path).expect("a source"))
        })
        .collect();
    let tests: BTreeSet<String> = texts
        .iter()
        .flat_map(|(path, text)| modules_of_tests(path, text))
        .collect();
    texts
        .into_iter()
        .filter(|(path, _)| {
            let module = path.strip_suffix(".rs").expect("a source");
            !tests
                .iter()
                .any(|test| module == test || module.starts_with(&format!("{test}/")))
        })
        .map(|(path, text)| Source {
            path,
            code: code(&text),
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The modules that a file declares for tests or fuzzing only.
fn modules_of_tests(path: &str, text: &str) -> Vec<String> {
    let folder = path.strip_suffix(".rs").expect("a source");
    let folder = folder
        .strip_suffix("/mod")
        .or_else(|| folder.strip_suffix("lib"))
        .unwrap_or(folder);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut modules = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = declared(line) else { continue };
        let attributes = lines[..number]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#["));
        if attributes.into_iter().any(|line| is_for_tests(line)) {
            modules.push(
                format!("{folder}/{name}")
                    .trim_start_matches('/')
                    .to_owned(),
            );
        }
    }
    modules
}

/// The name in `mod name;`.
fn declared(line: &str) -> Option<&str> {
    let line = line
        .strip_prefix("pub(crate) ")
        .or_else(|| line.strip_prefix("pub "))
        .unwrap_or(line);
    line.strip_prefix("mod ")?.strip_suffix(';')
}

fn is_for_tests(attribute: &str) -> bool {
    // The feature is product code.
    let attribute = attribute.replace("feature = \"testing\"", "");
    attribute.starts_with("#[cfg(")
        && !attribute.contains("doctest")
        && (attribute.contains("test") || attribute.contains("fuzzing"))
}

/// The text without comments, and without the test modules at the end of the file.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = (0..lines.len())
        .find(|number| {
            is_for_tests(lines[*number])
                && lines
                    .get(number + 1)
                    .is_some_and(|next| next.starts_with("mod "))
        })
        .filter(|number| lines[number + 1].ends_with('{'))
        .unwrap_or(lines.len());
    lines[..end]
        .iter()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn row(module: &str) -> usize {
    ROWS.iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("{module} stands in no row"))
}

/// The paths of a file that begin with `crate::`, up to what is no part of a path.
fn paths(code: &str) -> Vec<&str> {
    let end = |path: &str| {
        path.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)))
            .unwrap_or(path.len())
    };
    code.match_indices("crate::")
        .map(|(at, _)| &code[at..at + end(&code[at..])])
        .collect()
}

/// The imports of `sources` that break a rule.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let module = source.module();
        if module == "lib" || module == "guide" {
            continue;
        }
        for path in paths(&source.code) {
            let known = path.split("::").nth(1).expect("something after crate");
            if known == module {
                continue;
            }
            if !ROWS.iter().any(|row| row.contains(&known)) {
                wrong.push(format!("{}: {path} is not a path of a module", source.path));
                continue;
            }
            let across = HALVES.iter().any(|half| half.contains(&module))
                && HALVES
                    .iter()
                    .any(|half| half.contains(&known) && !half.contains(&module));
            if row(module) >= row(known) || across {
                wrong.push(format!("{}: {module} must not know {known}", source.path));
            }
        }
    }
    wrong
}

#[test]
fn modules_know_lower_rows_only_and_the_halves_never_name_each_other() {
    let sources = sources();
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The reading works if it finds an import that is known to exist.
    let stripe = sources
        .iter()
        .find(|source| source.path == "poll/stripe.rs")
        .expect("the stripe");
    assert!(paths(&stripe.code).contains(&"crate::base::sync::Mutex"));
    assert!(sources.iter().all(|source| !source.path.contains("tests")));
}

/// A node that is not simulated pays nothing for the ones that are: simulated sockets, clocks and polls are variants
/// beside the real ones, behind the feature `testing`.
#[test]
fn seams_of_the_simulation_are_variants_and_no_trait_objects() {
    let is_outside = |source: &&Source| !["simulation", "testing"].contains(&source.module());
    let sources = sources();
    let lines: Vec<_> = sources
        .iter()
        .filter(is_outside)
        .flat_map(|source| source.code.lines().map(|line| (&source.path, line)))
        .filter(|(_, line)| line.contains("imulat"))
        .collect();
    let variants = lines.iter().filter(|(_, line)| line.contains("Simulated"));
    assert!(variants.count() >= 5, "the seams are found");
    let is_wrong = |line: &str| ["dyn ", "impl "].iter().any(|word| line.contains(word));
    let wrong: Vec<_> = lines.iter().filter(|(_, line)| is_wrong(line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_names_modules_that_exist() {
    let present: BTreeSet<String> = sources()
        .iter()
        .map(|source| source.module().to_owned())
        .filter(|module| module != "lib" && module != "guide")
        .collect();
    let named: BTreeSet<String> = ROWS
        .iter()
        .copied()
        .flatten()
        .map(|m| (*m).into())
        .collect();
    assert_eq!(present, named);
}

#[test]
fn planted_import_is_refused_in_every_direction() {
    let planted = |path: &str, import: &str| {
        let source = Source {
            path: path.into(),
            code: format!("use {import};"),
        };
        violations(&[source])
    };
    assert_eq!(
        planted("poll/stripe.rs", "crate::meta::Services"),
        [""; 0],
        "down"
    );
    for (path, import, direction) in [
        ("message/mod.rs", "crate::bridge::Command", "up"),
        ("scheduler/mod.rs", "crate::node::Node", "up"),
        (
            "scheduler/mod.rs",
            "crate::proto::framing::Framing",
            "beside",
        ),
        ("error/mod.rs", "crate::inspect::Inspection", "beside"),
        (
            "poll/mod.rs",
            "crate::process::Processes",
            "from I/O to actors",
        ),
        (
            "actor/mod.rs",
            "crate::net::udp::UdpServer",
            "from actors to I/O",
        ),
        (
            "actor/mod.rs",
            "crate::proto::framing::Framing",
            "from actors to I/O",
        ),
        (
            "bridge/mod.rs",
            "crate::nowhere::Thing",
            "to a module that is not there",
        ),
    ] {
        assert_eq!(
            planted(path, import).len(),
            1,
            "{direction}: {path} {import}"
        );
    }
}

#[test]
fn driver_of_a_connection_calls_at_most_twelve_methods_of_the_machine() {
    let driver: String = sources()
        .iter()
        .filter(|source| source.path.starts_with("net/tcp/connection"))
        .flat_map(|source| source.code.split_whitespace().map(str::to_owned))
        .collect();
    let methods: BTreeSet<&str> = driver
        .split("machine.")
        .skip(1)
        .filter_map(|rest| {
            let name = rest
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()?;
            rest[name.len()..].starts_with('(').then_some(name)
        })
        .collect();
    assert!(methods.contains("poll") && methods.contains("offload_handshake"));
    assert!(methods.len() <= 12, "{methods:?}");
}

#[test]
fn foreign_crates_and_the_clock_are_named_in_their_places_only() {
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    for source in sources() {
        for (text, places) in PLACES {
            let lines = source.code.lines().filter(|line| line.contains(text));
            for line in lines {
                found.insert(text);
                if !places.iter().any(|place| source.path.starts_with(place)) {
                    wrong.push(format!("{}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (text, places) in PLACES {
        assert_eq!(
            found.contains(text),
            !places.is_empty(),
            "{text} is found where it may be"
        );
        for place in places {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src")
                .join(place);
            assert!(path.exists(), "{place} does not exist");
        }
    }
}

#[test]
fn the_table_of_the_first_page_is_this_one() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("the page");
    let rows: Vec<BTreeSet<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains('`'))
        .map(|line| line.split('`').skip(1).step_by(2).collect())
        .collect();
    let expected: Vec<BTreeSet<&str>> = ROWS
        .iter()
        .map(|row| row.iter().copied().collect())
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_way_of_one_packet_names_files_and_functions_that_exist() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let page = fs::read_to_string(source.join("guide/one_packet.md")).expect("the page");
    let steps: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | `"))
        .map(|(file, rest)| (file, rest.split('`').next().expect("a function")))
        .collect();
    for (file, function) in &steps {
        let text = fs::read_to_string(source.join(file)).expect(file);
        let found = [format!("fn {function}("), format!("fn {function}<")]
            .iter()
            .any(|declared| text.contains(declared.as_str()));
        assert!(found, "{file} has no function {function}");
    }
    let files: BTreeSet<&str> = steps.iter().map(|(file, _)| *file).collect();
    assert!(steps.len() <= 45, "{} steps", steps.len());
    assert!(files.len() <= 20, "{} files", files.len());
    println!("{} steps in {} files", steps.len(), files.len());
    assert!(!steps.is_empty());
}
