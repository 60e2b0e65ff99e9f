//! The check that every option has a row in the tables of `tests/it/options.rs` and `tests/it/tls/options.rs`, which
//! try it with its edge values.

/// Takes an options type apart without `..`, so that a new option does not compile until it is named here, and looks
/// for a row of each. A field that holds options of its own comes behind `nested`: those have rows, in a check of their
/// own.
macro_rules! option_rows {
    ($type:path { $($(#[$meta:meta])* $field:ident),* $(,)? } $(nested $nested:ident)?) => {{
        let $type { $($(#[$meta])* $field: _,)* $($nested: _)? } = &<$type>::default();
        let rows = concat!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/options.rs")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/options.rs")),
        );
        for field in [$($(#[$meta])* stringify!($field)),*] {
            assert!(rows.contains(&format!("\"{field}\"")), "no row for {field}");
        }
    }};
}

pub(crate) use option_rows;
