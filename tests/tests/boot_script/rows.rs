//! The states, the files and the U-Boots that are tried.

use hypriot_updater::boot::start::MAX_STARTS;
use hypriot_updater::boot::state::name;
use hypriot_updater::boot::{BootState, Phase, Spoilt, Trial, env, owner};
use hypriot_updater::layout::BOOT_STATE_SIZE;
use hypriot_updater::slot::Slot;

/// How the card lies in the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    Writable,
    Protected,
}

/// The blocks of both copies.
pub(crate) type Blocks2 = [Vec<u8>; 2];

/// Whether U-Boot has `setexpr`. One without it is this one with a script that calls a command which is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    There,
    Missing,
}

pub(crate) struct Row {
    pub(crate) danger: &'static str,
    pub(crate) blocks: Blocks2,
    pub(crate) card: Card,
    pub(crate) arithmetic: Arithmetic,
    /// `hypriot-boot.txt`
    pub(crate) file: Option<Vec<u8>>,
    /// The state that the script must take these blocks for.
    pub(crate) taken: BootState,
}

pub(crate) fn state(default: Slot, starts: u8, phase: Option<Phase>) -> BootState {
    BootState {
        seq: 9,
        default,
        starts,
        // the script carries these along
        failed: Some("f00d".into()),
        local: true,
        trial: phase.map(|phase| Trial {
            slot: !default,
            phase,
            id: "0123456789abcdef".into(),
            rearms: 0,
            deadline: 0x384,
        }),
        ..BootState::fresh()
    }
}

/// The first copy is new, the second one old and of another mind.
pub(crate) fn copies(state: &BootState) -> Blocks2 {
    let old = BootState {
        seq: state.seq - 1,
        default: !state.default,
        ..BootState::fresh()
    };
    [state.encode().unwrap(), old.encode().unwrap()]
}

#[expect(clippy::too_many_lines, reason = "a table, one row for each state")]
pub(crate) fn rows() -> Vec<Row> {
    let (a, b) = (Slot::A, Slot::B);
    let mut rows = Vec::new();
    for (danger, state) in [
        ("an ordinary start", state(a, 0, None)),
        (
            "the last try of the default",
            state(b, MAX_STARTS - 1, None),
        ),
        ("the default does not come up", state(a, MAX_STARTS, None)),
        (
            "the last try of the other",
            state(b, 2 * MAX_STARTS - 1, None),
        ),
        ("neither comes up", state(a, 2 * MAX_STARTS, None)),
        ("a count that is none of ours", state(b, 0xff, None)),
        ("a trial", state(a, 0, Some(Phase::Armed))),
        (
            "a trial of the last hope",
            state(b, 2 * MAX_STARTS, Some(Phase::Armed)),
        ),
        ("nobody judged the trial", state(b, 0, Some(Phase::Trying))),
        (
            "and the way back fails, too",
            state(a, MAX_STARTS, Some(Phase::Trying)),
        ),
        (
            "and all fails",
            state(a, 2 * MAX_STARTS, Some(Phase::Trying)),
        ),
        (
            "a bad trial and a bad default",
            state(a, MAX_STARTS, Some(Phase::Failed)),
        ),
    ] {
        rows.push(Row {
            danger,
            blocks: copies(&state),
            taken: state,
            ..Row::default()
        });
    }
    let spoilt = BootState {
        spoilt: Some(Spoilt::Unproven),
        ..state(b, 1, None)
    };
    rows.push(Row {
        danger: "what is known of the other slot is carried along",
        blocks: copies(&spoilt),
        taken: spoilt,
        ..Row::default()
    });
    let torn = vec![0xff; BOOT_STATE_SIZE];
    let tried = state(a, 1, Some(Phase::Armed));
    rows.push(Row {
        danger: "the older copy is torn",
        blocks: [tried.encode().unwrap(), torn.clone()],
        taken: tried.clone(),
        ..Row::default()
    });
    rows.push(Row {
        danger: "the first copy is torn",
        blocks: [torn.clone(), tried.encode().unwrap()],
        taken: tried.clone(),
        ..Row::default()
    });
    rows.push(Row {
        danger: "both copies are torn",
        blocks: [torn.clone(), torn],
        taken: BootState {
            seq: 0,
            ..BootState::fresh()
        },
        ..Row::default()
    });
    let of_old = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    let of_old = [
        of_old(name::SEQ, "1f"),
        of_old(name::DEFAULT, "b"),
        of_old(name::TRIAL, "none"),
        of_old(name::SLOT, "b"),
        of_old(name::ID, "-"),
        of_old(name::BOOTS, "0"),
    ];
    let of_old: Vec<_> = of_old
        .iter()
        .map(|(n, v)| (n.as_str(), v.clone()))
        .collect();
    // the newer of the two has no count; the older one's must not be taken for its own
    rows.push(Row {
        danger: "written before there was a count",
        blocks: [
            env::encode(&of_old).unwrap(),
            state(a, MAX_STARTS, None).encode().unwrap(),
        ],
        taken: BootState {
            seq: 0x1f,
            default: b,
            ..BootState::fresh()
        },
        ..Row::default()
    });
    for taken in [tried, state(b, MAX_STARTS, None)] {
        rows.push(Row {
            danger: "a card that cannot be written",
            blocks: copies(&taken),
            card: Card::Protected,
            file: Some(b"cmdline=quiet\n".to_vec()),
            taken,
            ..Row::default()
        });
    }
    rows
}

impl Default for Row {
    fn default() -> Self {
        let taken = state(Slot::A, 0, None);
        Self {
            danger: "",
            blocks: copies(&taken),
            card: Card::Writable,
            arithmetic: Arithmetic::There,
            file: None,
            taken,
        }
    }
}

/// Files of owners: what is taken from each is what [`owner::read`] says.
pub(crate) fn files() -> Vec<Row> {
    let line = |n: usize| format!("cmdline={}\n", "x".repeat(n));
    let files = [
        ("an ordinary file", "# mine\ncmdline=quiet net.ifnames=0 systemd.watchdog_sec=0\n".to_owned()),
        ("line ends of Windows and no last one", "# a\r\n\r\ncmdline=quiet\r\ndevice_tree=x.dtb".to_owned()),
        ("no values", "cmdline=\ndevice_tree\n".to_owned()),
        (
            "what an update relies on",
            "cmdline=hypriot.slot=b -- ---- panic=0 init=/x rdinit=/x systemd.unit=rescue.target systemd.mask=x \
             syssystemdtemd.mask=y systemd.show_status=1 sysctl.kernel.panic=0 reboot=h LD_PRELOAD=x SYSTEMD_UNIT_PATH=/x !0.mask=z\n"
                .to_owned(),
        ),
        ("variables of the script", "hy_boot=b\nhy_next=b\nbootcmd=reset\nhy_seq=7fffffff\ncmdline=a\ncmdline=b\n".to_owned()),
        (
            "commands for U-Boot's shell",
            "cmdline=it's'; reset; ' \" $hy_boot ${hy_boot} \\$x `reset` \u{3}bootcmd\u{3} \u{4} || reset\n\
             device_tree='; reset; '\n"
                .to_owned(),
        ),
        ("words of test(1)", "cmdline=-n\ndevice_tree=-e\n".to_owned()),
        ("as long as may be", line(owner::MAX_CMDLINE)),
        ("longer than may be", line(owner::MAX_CMDLINE + 1)),
        ("a file as long as may be", format!("cmdline=quiet\n{}", "#".repeat(owner::MAX - 14))),
        ("a file longer than may be", format!("cmdline=quiet\n{}", "#".repeat(owner::MAX - 13))),
        ("a large file of zeros", "\0".repeat(1 << 20)),
        ("no name", "cmdline=quiet\n=x\n".to_owned()),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (danger, text) in files {
        rows.push(Row {
            danger,
            file: Some(text.into_bytes()),
            ..Row::default()
        });
    }
    rows.push(Row {
        danger: "a file of no text",
        file: Some((0..=255).rev().cycle().take(3000).collect()),
        ..Row::default()
    });
    for (danger, starts) in [
        ("the last start with the file", 1),
        ("the first without", 2),
    ] {
        let taken = state(Slot::A, starts, None);
        rows.push(Row {
            danger,
            blocks: copies(&taken),
            file: Some(b"cmdline=initcall_blacklist=x\n".to_vec()),
            taken,
            ..Row::default()
        });
    }
    let taken = state(Slot::A, 0, Some(Phase::Armed));
    rows.push(Row {
        danger: "a file in a trial",
        blocks: copies(&taken),
        file: Some(b"cmdline=hypriot.slot=a\n".to_vec()),
        taken,
        ..Row::default()
    });
    rows
}

/// U-Boots without `setexpr`: the number stays, and the copy that is further counts.
pub(crate) fn without_arithmetic() -> Vec<Row> {
    let (a, b) = (Slot::A, Slot::B);
    let same =
        |first: BootState, second: BootState| [first.encode().unwrap(), second.encode().unwrap()];
    let rows = [
        (
            "no sum: an ordinary start",
            copies(&state(a, 0, None)),
            state(a, 0, None),
        ),
        (
            "no sum: the second start, of copy 2",
            same(state(a, 0, None), state(a, 1, None)),
            state(a, 1, None),
        ),
        (
            "no sum: the third start, of copy 1",
            same(state(a, 2, None), state(a, 1, None)),
            state(a, 2, None),
        ),
        (
            "no sum: the other's turn",
            copies(&state(a, MAX_STARTS, None)),
            state(a, MAX_STARTS, None),
        ),
        (
            "no sum: a trial",
            copies(&state(b, 1, Some(Phase::Armed))),
            state(b, 1, Some(Phase::Armed)),
        ),
        (
            "no sum: a trial that nobody judged, in copy 2",
            same(
                state(a, 0, Some(Phase::Armed)),
                state(a, 0, Some(Phase::Trying)),
            ),
            state(a, 0, Some(Phase::Trying)),
        ),
        (
            "no sum: and in copy 1",
            same(
                state(a, 6, Some(Phase::Lost)),
                state(a, 6, Some(Phase::Trying)),
            ),
            state(a, 6, Some(Phase::Lost)),
        ),
        (
            "no sum: a fresh card",
            copies(&state(a, 0, None)).map(|_| vec![0; BOOT_STATE_SIZE]),
            BootState {
                seq: 0,
                ..BootState::fresh()
            },
        ),
    ];
    let row = |(danger, blocks, taken)| Row {
        danger,
        blocks,
        taken,
        arithmetic: Arithmetic::Missing,
        file: Some(b"cmdline=quiet\n".to_vec()),
        ..Row::default()
    };
    rows.into_iter().map(row).collect()
}
