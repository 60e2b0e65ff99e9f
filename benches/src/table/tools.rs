//! Finds the other binaries of this crate, which lie beside the running one.

use std::env;
use std::io;
use std::process::Command;

/// Large copies run at one of two speeds, decided at start; this setting makes all processes use the same one.
const COPY_SPEED: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_movsb_threshold=1000000000",
);

/// A command for another binary of this crate.
pub fn tool(name: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?.with_file_name(name));
    command.env(COPY_SPEED.0, COPY_SPEED.1);
    Ok(command)
}

/// Builds all binaries, because `cargo run` builds the running one only.
///
/// Does nothing if this process was not started by cargo.
pub fn build() -> io::Result<()> {
    build_those(&["--bins"])
}

/// Builds what these arguments of `cargo build` name.
pub fn build_those(named: &[&str]) -> io::Result<()> {
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(());
    };
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    command.args(named);
    // The other binaries have the features of this one.
    if cfg!(feature = "pktinfo") {
        command.args(["--features", "pktinfo"]);
    }
    if cfg!(debug_assertions) {
        eprintln!("note: without --release the figures mean nothing");
    } else {
        command.arg("--release");
    }
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("the other binaries do not build")),
    }
}
