//! The conformance suite for this backend.

lock_conformance::main! { mkdir_backend::BACKEND => |scratch| format!("mkdir:{}/store", scratch.display()) }
