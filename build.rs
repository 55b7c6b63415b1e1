//! How the binary is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A third of the time to start is spent on moving pointers to where the program was loaded.
    // Written as a list of bitmaps, they take a fiftieth of the space and are read in no time.
    // Linkers that do not know the wish pass it over with a warning.
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target == "linux" {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
