//! Errors for the kernel's limits on semaphores. Each names the limit and how to raise it.

use std::fs;

use lock_core::Error;
use nix::errno::Errno;

use super::procfs;

/// The four numbers of the sysctl `kernel.sem` (`proc_sys_kernel(5)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    /// Maximum number of semaphores in a set (SEMMSL).
    in_a_set: u64,
    /// Maximum number of semaphores in all sets (SEMMNS).
    in_all: u64,
    /// Maximum number of steps of an operation (SEMOPM).
    steps: u64,
    /// Maximum number of sets (SEMMNI).
    sets: u64,
}

impl Limits {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/sys/kernel/sem").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { in_a_set: next()?, in_all: next()?, steps: next()?, sets: next()? })
    }
}

/// Checks whether the kernel allows sets with this number of semaphores.
pub(crate) fn allow_sets_of(semaphores: u16) -> bool {
    Limits::read().is_none_or(|limits| u64::from(semaphores) <= limits.in_a_set)
}

/// Returns the error for EINVAL of `semget` when the set does not exist.
pub(crate) fn too_many_in_a_set(semaphores: u16, errno: Errno) -> Error {
    let allowed = Limits::read().map_or(0, |limits| limits.in_a_set);
    limit(
        format!(
            "the kernel allows {allowed} semaphores in a set (SEMMSL), and {semaphores} are needed; \
             raise the first number of the sysctl kernel.sem"
        ),
        errno,
    )
}

/// Returns the error for ENOSPC of `semget`.
pub(crate) fn no_room_for_another_set(semaphores: u16, errno: Errno) -> Error {
    let sets = procfs::sets().unwrap_or_default();
    let used: u64 = sets.iter().map(|set| set.semaphores).sum();
    let text = match Limits::read() {
        Some(limits) if sets.len() as u64 >= limits.sets => format!(
            "there are {} semaphore sets, and the kernel allows no more (SEMMNI); \
             remove some (ipcs -s, ipcrm), or raise the fourth number of the sysctl kernel.sem",
            sets.len()
        ),
        Some(limits) => format!(
            "the kernel allows {} semaphores (SEMMNS), {used} are in use, and {semaphores} more are needed; \
             remove sets (ipcs -s, ipcrm), or raise the second number of the sysctl kernel.sem",
            limits.in_all
        ),
        None => "the kernel's limit on semaphores or sets is reached; raise the sysctl kernel.sem".to_owned(),
    };
    limit(text, errno)
}

/// Returns the error for E2BIG of `semop`.
pub(crate) fn too_many_steps(steps: usize, errno: Errno) -> Error {
    let allowed = Limits::read().map_or(0, |limits| limits.steps);
    limit(
        format!(
            "the kernel allows {allowed} steps in a semaphore operation (SEMOPM), and {steps} are needed; \
             raise the third number of the sysctl kernel.sem to 500"
        ),
        errno,
    )
}

/// Returns the error for ENOMEM or ENOSPC of `semop`.
pub(crate) fn no_memory_to_undo(errno: Errno) -> Error {
    limit("the kernel has no memory for the undo record of this process (SEM_UNDO); free memory".to_owned(), errno)
}

/// Returns the error for ENOMEM of `semget`.
pub(crate) fn no_memory_for_a_set(errno: Errno) -> Error {
    limit("the kernel has no memory for another semaphore set; free memory".to_owned(), errno)
}

fn limit(limit: String, errno: Errno) -> Error {
    Error::limit(limit, errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::ErrorKind;

    #[test]
    fn the_four_numbers_of_kernel_sem_are_read_in_order() {
        let limits = Limits::parse("32000\t1024000000\t500\t32000\n").unwrap();
        assert_eq!(limits, Limits { in_a_set: 32_000, in_all: 1_024_000_000, steps: 500, sets: 32_000 });
        assert_eq!(Limits::parse("250 32000 32"), None);
    }

    #[test]
    fn an_error_names_the_sysctl_and_the_number_to_raise() {
        for (error, words) in
            [(too_many_in_a_set(1036, Errno::EINVAL), "first number"), (too_many_steps(13, Errno::E2BIG), "third number")]
        {
            assert!(matches!(error.kind(), ErrorKind::Limit), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("kernel.sem") && text.contains(words), "{text}");
        }
    }
}
