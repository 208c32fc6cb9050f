//! Folders are compiled in file by file; a new file in one is a reason to compile again, which nothing else tells cargo.

fn main() {
    for folder in ["boards", "deb", "p1", "recipes", "skel", "../systemd"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
