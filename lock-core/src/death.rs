use std::fmt;

use crate::Holder;

/// The end of an owner inside its critical section.
///
/// What the lock protects may be half changed. The lock itself is whole, and is the receiver's. Each next owner receives this until one
/// calls [`Guard::mark_consistent`](crate::Guard::mark_consistent).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Death {
    /// The owner, where the backend knows it.
    pub holder: Option<Holder>,
    /// How it ended.
    pub cause: Cause,
}

/// How an owner ended without releasing its lock in an orderly way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The backend cannot tell.
    Unknown,
    /// The process was killed, or exited.
    ProcessEnded,
    /// The process executed another program.
    Executed,
    /// The thread ended, in a process that lives on.
    ThreadEnded,
    /// The thread panicked, and released the lock while unwinding.
    Panicked,
}

impl Cause {
    /// Every cause, in the order of [`Cause::number`].
    const ALL: [Self; 5] = [Self::Unknown, Self::ProcessEnded, Self::Executed, Self::ThreadEnded, Self::Panicked];

    /// A number for a word that keeps it, from 0 to 15.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The cause with this number; [`Cause::Unknown`] if there is none.
    pub fn of_number(number: u64) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Unknown)
    }
}

impl Death {
    /// The death of this holder; `None` when the backend cannot tell whose it was.
    pub fn of(holder: Option<Holder>) -> Self {
        Self { holder, cause: Cause::Unknown }
    }

    /// The same with a cause.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(f, "{holder} ")?,
            None => f.write_str("an owner that is not known ")?,
        }
        write!(f, "{} holding it", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown | Self::ProcessEnded => "died",
            Self::Executed => "executed another program",
            Self::ThreadEnded => "ended its thread",
            Self::Panicked => "panicked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_survive_as_numbers() {
        for cause in Cause::ALL {
            assert_eq!(Cause::of_number(cause.number()), cause);
        }
        assert_eq!(Cause::of_number(15), Cause::Unknown);
    }

    #[test]
    fn a_death_names_holder_and_cause() {
        let holder = Holder::of_process(7).with_command("make");
        let death = Death::of(Some(holder.clone())).with_cause(Cause::Executed);
        assert_eq!(death.to_string(), format!("{holder} executed another program holding it"));
        assert_eq!(Death::of(None).to_string(), "an owner that is not known died holding it");
    }
}
