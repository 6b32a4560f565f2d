//! Events for `tracing`, if the feature of that name is on.

/// Records an event of a level, as the macro of `tracing` with the name of that level does.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::$level!($($fields)+);
    };
}

pub(crate) use event;

/// Returns whether a subscriber wants warnings.
#[inline]
pub(crate) fn warns() -> bool {
    #[cfg(feature = "tracing")]
    let warns = tracing::enabled!(tracing::Level::WARN);
    #[cfg(not(feature = "tracing"))]
    let warns = false;
    warns
}
