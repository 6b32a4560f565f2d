//! `metrics`: the text format of Prometheus.

use std::collections::BTreeMap;

use crate::scratch::Scratch;

/// The value and the type of each metric.
type Metrics = BTreeMap<String, f64>;

/// Parses the text format (version 0.0.4) strictly: each metric is a HELP line, a TYPE line and one sample with the label `store`.
fn parse(text: &str, store: &str) -> Metrics {
    assert!(text.ends_with('\n'), "{text:?}");
    let lines: Vec<_> = text.lines().collect();
    let mut metrics = Metrics::new();
    for metric in lines.chunks(3) {
        let [help, kind, sample] = metric else { panic!("an incomplete metric: {metric:?}") };
        let (name, about) = help.strip_prefix("# HELP ").and_then(|help| help.split_once(' ')).expect("a name and a text");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!about.is_empty() && !about.contains('\\'), "{about}");
        assert_eq!(*kind, format!("# TYPE {name} gauge"));
        let (labels, value) = sample.strip_prefix(name).and_then(|rest| rest.rsplit_once(' ')).expect("labels and a value");
        let label = labels.strip_prefix("{store=\"").and_then(|rest| rest.strip_suffix("\"}")).expect("one label");
        assert_eq!(unescaped(label), store);
        let value: f64 = value.parse().expect("a number");
        assert!(value.is_finite() && value >= 0.0, "{sample}");
        assert!(metrics.insert(name.to_owned(), value).is_none(), "{name} is there twice");
    }
    metrics
}

fn unescaped(label: &str) -> String {
    let mut text = String::new();
    let mut chars = label.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                other => panic!("the escape {other:?}"),
            },
            '"' => panic!("a quote that is not escaped"),
            c => c,
        });
    }
    text
}

fn metrics(scratch: &Scratch) -> Metrics {
    parse(&scratch.ok(&["metrics"]), &scratch.url())
}

#[test]
fn the_figures_of_a_store_are_right() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=64", scratch.url())]);
    let before = metrics(&scratch);
    assert_eq!((before["lockctl_capacity"], before["lockctl_allocated"], before["lockctl_held"]), (64.0, 0.0, 0.0));
    assert_eq!((before["lockctl_longest_hold_seconds"], before["lockctl_deaths_unresolved"]), (0.0, 0.0));

    scratch.ok(&["allocate"]);
    scratch.ok(&["allocate"]);
    let mut dies = scratch.hold("7");
    dies.process.kill().unwrap();
    dies.process.wait().unwrap();
    let held = scratch.hold("3");
    let now = metrics(&scratch);
    assert_eq!((now["lockctl_allocated"], now["lockctl_held"], now["lockctl_deaths_unresolved"]), (4.0, 1.0, 1.0));
    held.release();

    scratch.ok(&["run", "3", "--", "true"]);
    assert_eq!(scratch.run(&["run", "7", "--", "true"]).code, Some(0));
    let after = metrics(&scratch);
    assert_eq!((after["lockctl_held"], after["lockctl_deaths_unresolved"]), (0.0, 0.0));
}

#[test]
fn a_store_without_a_bound_has_no_capacity() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=unbounded", scratch.url())]);
    let metrics = metrics(&scratch);
    assert!(!metrics.contains_key("lockctl_capacity") && metrics.contains_key("lockctl_allocated"), "{metrics:?}");
}

#[test]
fn the_label_of_a_store_with_special_characters_is_escaped() {
    let scratch = Scratch::new();
    let store = format!("shm:{}/a\"b\\c", scratch.path().display());
    scratch.ok(&["create", "--store", &store]);
    parse(&scratch.ok(&["metrics", "--store", &store]), &store);
}

#[test]
fn an_absent_store_has_no_metrics() {
    let scratch = Scratch::new();
    let output = scratch.run(&["metrics"]);
    assert_eq!((output.code, output.out.as_str()), (Some(66), ""), "{output:?}");
}
