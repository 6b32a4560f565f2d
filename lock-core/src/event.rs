//! Events for `tracing`, if the feature of that name is on. The module `events` has their names.

/// Records the event of a level with a name of the module `events`, as the macro of `tracing` with the name of that level does.
macro_rules! event {
    ($level:ident, $name:ident, $($fields:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::$level!(name: $crate::events::$name, $($fields)+);
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
