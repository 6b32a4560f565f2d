use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Completion, FormatSetting};
use nix::sys::prctl;

use crate::case::{Case, Failure};
use crate::leftovers::{Leftovers, PATIENCE};
use crate::need::Lack;
use crate::report::{Outcome, Report};
use crate::trial::Trial;
use crate::{Suite, cases, need, peer};

/// The `main` of a conformance test.
///
/// Runs the cases of all suites with the command line of a Rust test binary.
///
/// In a process that the suite started as a peer, it runs the peer instead.
///
/// It ends with a summary by promise. It fails if there is no case to run, or if the run leaves a semaphore set, a file in
/// `/dev/shm` or a process behind.
pub fn main(suites: impl IntoIterator<Item = Suite>) -> ExitCode {
    let suites: Vec<_> = suites.into_iter().map(Arc::new).collect();
    peer_if_asked(&suites);
    if let Some(objection) = objection(&suites) {
        eprintln!("lock-conformance: {objection}");
        return ExitCode::FAILURE;
    }
    let (mut arguments, report) = (Arguments::from_args(), Arc::new(Report::new(&suites)));
    // Most cases mainly wait, and those of sessions for seconds.
    let threads = if suites.iter().all(|suite| need::SESSIONS.is_met(suite)) { 5 } else { 2 };
    arguments.test_threads.get_or_insert_with(|| threads * thread::available_parallelism().map_or(1, usize::from));
    let trials: Vec<_> =
        suites.iter().flat_map(cases_of).map(|(suite, case)| reported(suite, case, &arguments, &report)).collect();
    if trials.iter().all(Trial::is_skipped) {
        return nothing_to_run();
    }
    let before = Leftovers::now();
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().map(Trial::into_inner).collect());
    if report.count() == 0 {
        return conclusion.exit_code();
    }
    match summarize(&arguments, &report).and_then(|()| nothing_left_since(&before)) {
        Ok(()) => conclusion.exit_code(),
        Err(objection) => {
            eprintln!("lock-conformance: {objection}");
            ExitCode::FAILURE
        }
    }
}

/// Creates a trial that adds its outcome to the report.
fn reported(suite: &Arc<Suite>, case: &'static Case, arguments: &Arguments, report: &Arc<Report>) -> Trial {
    let (lack, to_report) = (case.skipped_for(suite), Arc::clone(report));
    let trial = trial(suite, case, lack, move |suite| {
        let outcome = run_unless_many_hang(suite, case);
        let noted = match outcome {
            Ok(Completion::Completed) => Outcome::Passed,
            Ok(Completion::Ignored { .. }) => Outcome::NotRun,
            Err(_) => Outcome::Failed,
        };
        to_report.note(suite, case, noted);
        outcome
    });
    if let Some(lack) = lack.filter(|_| !arguments.is_filtered_out(trial.inner())) {
        report.note(suite, case, Outcome::Skipped(lack));
    }
    trial
}

/// Prints the summary by promise. A run of one case, as with nextest, needs no summary.
fn summarize(arguments: &Arguments, report: &Report) -> Result<(), String> {
    if report.count() == 1 {
        return Ok(());
    }
    if arguments.logfile.is_none() && arguments.format != Some(FormatSetting::Json) {
        println!("{report}");
    }
    let Some(path) = env::var_os("LOCK_CONFORMANCE_REPORT") else { return Ok(()) };
    fs::write(&path, report.markdown())
        .map_err(|error| format!("cannot write LOCK_CONFORMANCE_REPORT to {}: {error}", path.display()))
}

fn nothing_left_since(before: &Leftovers) -> Result<(), String> {
    let left = Leftovers::since(before, PATIENCE);
    if left.is_empty() {
        return Ok(());
    }
    let left = left.join(", ");
    Err(format!("the run left these objects behind, unless another program of this user created them: {left}"))
}

/// Runs as a peer, and does not return, if the suite started this process as one.
///
/// A test binary with its own `main` calls this first, with all suites that it runs.
pub fn peer_if_asked(suites: &[Arc<Suite>]) {
    peer::run_if_asked(suites);
    // This process adopts forked children of dead peers, and kills them. If the kernel refuses, such a child exits by itself.
    let _ = prctl::set_child_subreaper(true);
}

/// Returns the cases of a suite as trials. A skipped case has its reason.
///
/// The binary must call [`peer_if_asked`] before it runs them.
pub fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    cases_of(suite)
        .map(|(suite, case)| trial(suite, case, case.skipped_for(suite), |suite| run_unless_many_hang(suite, case)))
        .collect()
}

/// Returns the cases of a suite, including skipped ones.
fn cases_of(suite: &Arc<Suite>) -> impl Iterator<Item = (&Arc<Suite>, &'static Case)> {
    cases::all().filter(|case| case.is_for(suite)).map(move |case| (suite, case))
}

/// Converts a case to a trial of the test harness.
fn trial(
    suite: &Arc<Suite>,
    case: &'static Case,
    lack: Option<Lack>,
    run: impl FnOnce(&Arc<Suite>) -> Result<Completion, Failure> + Send + 'static,
) -> Trial {
    let name = format!("{}::{}", suite.name(), case.name);
    let suite = Arc::clone(suite);
    match lack {
        Some(lack) => {
            let refuse = move || Err(format!("the case cannot be run: {lack}"));
            Trial::test(name, refuse).skipped(lack.to_string())
        }
        None => Trial::deciding(name, move || run(&suite)),
    }
}

/// Number of hanging cases after which the remaining cases of a suite are not run.
const MANY: usize = 4;

fn run_unless_many_hang(suite: &Arc<Suite>, case: &Case) -> Result<Completion, Failure> {
    let hung = suite.hung();
    if hung < MANY {
        return case.run(suite).map(|()| Completion::Completed);
    }
    Ok(Completion::ignored_with(format!("not run, because {hung} cases of {} hang", suite.name())))
}

fn nothing_to_run() -> ExitCode {
    eprintln!("lock-conformance: there is no case to run");
    ExitCode::FAILURE
}

/// Runs trials with the command line's arguments.
pub fn run_trials(trials: Vec<Trial>) -> ExitCode {
    if trials.iter().all(Trial::is_skipped) {
        return nothing_to_run();
    }
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().map(Trial::into_inner).collect()).exit_code()
}

/// Runs one case, given by its name, such as `exclusion::processes::a_held_lock_is_busy`.
///
/// # Errors
/// Fails if the case fails, is skipped for this suite, or does not exist.
pub fn run_case(suite: &Arc<Suite>, name: &str) -> Result<(), Failure> {
    let case = cases::all()
        .find(|case| case.name == name && case.is_for(suite))
        .ok_or_else(|| Failure::new(format!("there is no case {name:?} for {}", suite.name())))?;
    match case.skipped_for(suite) {
        Some(reason) => Err(Failure::new(format!("{name} is skipped for {}: {reason}", suite.name()))),
        None => case.run(suite),
    }
}

/// Returns a description of an error in the suites themselves.
fn objection(suites: &[Arc<Suite>]) -> Option<String> {
    if suites.is_empty() {
        return Some("no backend was given".to_owned());
    }
    let names: Vec<_> = suites.iter().map(|suite| suite.name()).collect();
    if let Some(twice) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name)) {
        return Some(format!("two suites have the name {twice}; rename one with Suite::named"));
    }
    let contradiction = |suite: &Arc<Suite>| Some(format!("{}: {}", suite.name(), need::contradiction(&suite.capabilities())?));
    suites.iter().find_map(contradiction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::{Backend, Breaking, Capabilities, Error};

    const BACKEND: Backend = Backend::new("test", "lock-conformance", "", |_, _| Err(Error::unsupported("a test")));

    fn suite(backend: Backend) -> Arc<Suite> {
        Arc::new(Suite::new(backend, |_| "test:".to_owned()))
    }

    #[test]
    fn nothing_to_run_is_a_failure() {
        let failure = format!("{:?}", ExitCode::FAILURE);
        assert_eq!(format!("{:?}", run_trials(vec![])), failure);
        let skipped = Trial::test("skipped", || Ok::<_, String>(())).skipped("a reason");
        assert_eq!(format!("{:?}", run_trials(vec![skipped])), failure);
    }

    #[test]
    fn equal_suite_names_and_contradictory_claims_are_refused() {
        assert!(objection(&[]).is_some());
        assert!(objection(&[suite(BACKEND)]).is_none());
        assert!(objection(&[suite(BACKEND), suite(BACKEND)]).is_some_and(|text| text.contains("test")));
        let claims = Capabilities::minimal().with_owner_death(lock_core::OwnerDeath::Reported).with_breaking(Breaking::Explicit);
        assert!(objection(&[suite(BACKEND.with(claims))]).is_some_and(|text| text.contains("break")));
    }

    #[test]
    fn an_absent_claim_is_listed_with_its_reason_and_its_refusal_is_proved() {
        let trials = trials(&suite(BACKEND));
        let find = |name: &str| trials.iter().find(|trial| trial.name() == format!("test::{name}"));
        let absent = find("tokens::threads::a_token_is_greater_than_all_before_it").expect("it is listed");
        assert_eq!(absent.skip_reason(), Some("not claimed: tokens"));
        let refusal = find("breaking::breaking_is_refused_and_changes_nothing").expect("it is listed");
        assert!(!refusal.is_skipped());
        assert!(find("freeing::a_handle_is_never_called_stale").is_some_and(|trial| !trial.is_skipped()));
    }

    #[test]
    fn names_of_cases_are_unique() {
        let mut names: Vec<_> = cases::all().map(|case| case.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn an_absent_case_does_not_pass() {
        let unknown = run_case(&suite(BACKEND), "exclusion::nothing").unwrap_err();
        assert!(unknown.message().contains("there is no case"));
        let skipped = run_case(&suite(BACKEND), "tokens::a_token_grows_across_deaths").unwrap_err();
        assert!(skipped.message().contains("is skipped"));
    }
}
