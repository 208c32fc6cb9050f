//! What the script says, without a U-Boot to run it.

use alloc::format;

use super::*;

fn text() -> String {
    script(&ScriptBoard {
        arguments: "console=ttyAMA0",
        kernel: KernelCommand::Booti,
        device_tree: None,
        addresses: None,
    })
}

#[test]
fn every_variable_of_the_state_is_imported_and_exported() {
    let all = name::ALL.join(" ");
    assert_eq!(
        text()
            .matches(&format!("env import -c ${{hy_m1}} 0x1000 {all}"))
            .count(),
        2
    );
    assert_eq!(
        text()
            .matches(&format!("env import -c ${{hy_m2}} 0x1000 {all}"))
            .count(),
        2
    );
    assert_eq!(
        text()
            .matches(&format!("env export -c -s 0x1000 ${{hy_m1}} {all}"))
            .count(),
        1
    );
}

/// U-Boot takes 16 arguments (`CONFIG_SYS_MAXARGS`). One more, and `env export` prints its usage and writes nothing: no
/// trial would ever be marked, and no start counted.
#[test]
fn no_command_has_more_arguments_than_u_boot_takes() {
    for line in text().lines() {
        for command in line.split(';') {
            let words = command.split_ascii_whitespace();
            let count = words
                .filter(|w| !["if", "then", "else", "fi"].contains(w))
                .count();
            let whole = command.contains("setenv hy_run ");
            assert!(count <= 16 || whole, "{count} words: {command}");
        }
    }
}

/// hush has no error for an unbalanced `if` in a script: it just stops.
#[test]
fn ifs_are_balanced() {
    let text = text();
    let count = |word: &str| {
        text.split([' ', '\n', ';', '\''])
            .filter(|w| *w == word)
            .count()
    };
    assert_eq!(count("if"), count("fi"));
    assert_eq!(count("if"), count("then"));
}

#[test]
fn addresses_replace_those_of_u_boot_before_anything_is_loaded() {
    let text = script(&ScriptBoard {
        arguments: "",
        kernel: KernelCommand::Booti,
        device_tree: Some("x.dtb"),
        addresses: Some(Addresses {
            kernel: 0x20_0000,
            device_tree: 0xa00_0000,
            initramfs: 0xa20_0000,
        }),
    });
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    let run = at("\nrun hy_run\n");
    for set in [
        "setenv kernel_addr_r 0x200000\n",
        "setenv fdt_addr_r 0xa000000\n",
        "setenv ramdisk_addr_r 0xa200000\n",
    ] {
        assert!(at(set) < run, "{set}");
    }
}

#[test]
fn state_lies_where_the_layout_says() {
    assert!(text().contains("read ${hy_m1} 0x2000 0x8"));
    assert!(text().contains("read ${hy_m2} 0x6000 0x8"));
}

/// U-Boot parses the value of a variable between quotes once more: one that nobody has filtered must not be expanded.
#[test]
fn nothing_of_the_owners_is_expanded_before_it_is_filtered() {
    let text = text();
    let filtered = text.rfind("gsub").unwrap();
    for key in [owner::CMDLINE, owner::DEVICE_TREE] {
        let first = text.find(&format!("${{{key}}}"));
        assert!(first.is_some_and(|at| at > filtered), "{key}");
    }
}

/// The state is on the card before anything of the owner's is looked at.
#[test]
fn an_owners_file_is_read_when_the_start_is_counted() {
    let text = text();
    let last = text.find("write ${hy_m1}").unwrap();
    assert!(text.find(owner::FILE).is_some_and(|at| at > last));
}
