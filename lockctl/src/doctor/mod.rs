//! `doctor`: the faults of a store and of the system, in sentences, each with a remedy. It acquires, delays and changes no lock.

mod finding;
mod locks;
mod mappings;
#[cfg(feature = "sem")]
mod semaphores;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use lock_any::{ErrorKind, Store, StoreUrl};
use serde::Serialize;

use self::finding::{Finding, Severity};
use crate::cli::{Format, StoreArgs};
use crate::exit::Failure;
use crate::output;

#[derive(Serialize)]
struct Report {
    store: String,
    /// `fine`, `warnings` or `problems`.
    status: &'static str,
    findings: Vec<Finding>,
}

/// Prints the findings. Exits with 0, or 1 if there are only warnings, or 2 if there are problems.
pub(crate) fn doctor(store_args: &StoreArgs, format: &Format) -> Result<ExitCode, Failure> {
    let url: StoreUrl = store_args.url()?.parse()?;
    // Without a backend for the scheme, nothing can be said about the store.
    lock_any::registry()?.find(url.scheme())?;
    let (store, findings) = examine(&url);
    let worst = findings.iter().map(|finding| finding.severity).max();
    let (status, code) = match worst {
        None => ("fine", 0),
        Some(Severity::Warning) => ("warnings", 1),
        Some(Severity::Problem) => ("problems", 2),
    };
    let report = Report { store, status, findings };
    if format.json {
        output::print_json(&report)?;
    } else {
        output::print(text(&report))?;
    }
    Ok(ExitCode::from(code))
}

/// Returns the name of the store, and the faults of the store and the system, the worst first.
fn examine(url: &StoreUrl) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let opened = lock_any::open(url.clone());
    let name = opened.as_ref().map_or_else(|_| url.as_str().to_owned(), |store| store.url().to_owned());
    let file = file_of(url, opened.as_ref().ok());
    match &opened {
        Ok(store) => {
            if let Err(error) = locks::examine(store, &mut findings) {
                findings.push(unusable(&error));
            }
        }
        Err(error) => findings.push(unusable(error)),
    }
    if let Some(file) = &file {
        findings.extend(mappings::replaced(file));
    }
    findings.extend(system::examine(file.as_deref()));
    #[cfg(feature = "sem")]
    if url.scheme() == "sem" {
        findings.extend(semaphores::examine(file.as_deref(), opened.as_ref().ok()));
    }
    // The sort is stable: findings of one kind stay together.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    (name, findings)
}

/// Returns the file of the store, if it has one.
fn file_of(url: &StoreUrl, store: Option<&Store>) -> Option<PathBuf> {
    if let Some(store) = store {
        return store.details().into_iter().find(|(title, _)| *title == "file").map(|(_, file)| file.into());
    }
    let is_file = ["shm", "sem", "posix-sem"].contains(&url.scheme());
    let directory = || Ok(PathBuf::from("/dev/shm"));
    if is_file { url.file_in(directory).ok() } else { None }
}

/// The finding that a store cannot be opened or read. The message of the error has the remedy after the last semicolon.
fn unusable(error: &lock_any::Error) -> Finding {
    let message = error.to_string();
    let (text, remedy) = message.rsplit_once("; ").unwrap_or((&message, "see the message"));
    let remedy = match error.kind() {
        ErrorKind::Absent => "create it by `lockctl create`, or correct the URL",
        _ => remedy,
    };
    Finding::problem("store", text, remedy)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let line = format!("{}: {}", finding.severity.as_str(), finding.text);
        text += &format!("{}\n  {}\n", output::escaped(&line), output::escaped(&finding.remedy));
    }
    if report.findings.is_empty() {
        text += &format!("nothing is wrong with {}\n", output::escaped(&report.store));
    }
    text
}
