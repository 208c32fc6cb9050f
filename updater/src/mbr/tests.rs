//! Tables as they are written, grown, read again, and broken. What sfdisk says of them is asked by imagegen's tests.

use alloc::collections::BTreeMap;

use super::*;

type Disk = BTreeMap<u64, Sector>;

fn disk() -> Disk {
    card(0x1234_5678).encode().unwrap().into_iter().collect()
}

fn read(disk: &Disk) -> Result<Table, ReadError<&'static str>> {
    Table::parse(|at, sector| {
        *sector = *disk.get(&at).ok_or("read beyond the table")?;
        Ok(())
    })
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(read(&disk()).unwrap(), card(0x1234_5678));
}

#[test]
fn the_data_partition_grows_to_the_end_and_twice_is_once() {
    let mut sectors = disk();
    let size = 8_012_390_400; // a real 8 GB card: no multiple of 4 MiB
    for _ in 0..2 {
        let new = grown(&sectors[&0], &sectors[&data_link()], size, 0xdead_beef).unwrap();
        sectors.extend(new);
        let found = read(&sectors).unwrap();
        let data = found.get(layout::DATA.number).unwrap();
        assert_eq!(
            data.start + data.size,
            size / layout::EBR_GAP * layout::EBR_GAP
        );
        assert_eq!(found.signature, 0xdead_beef);
        assert_eq!(signature(&sectors[&0]), Some(0xdead_beef));
        assert_eq!(found.partitions.len(), card(0).partitions.len());
        assert_eq!(found.fits(size), Ok(()));
    }
}

#[test]
fn the_code_of_a_boot_rom_outlives_the_new_signature() {
    let sectors = disk();
    let mut mbr = sectors[&0];
    mbr[..442].fill(0xb1);
    let size = layout::DATA.end();
    let [_, (_, new)] = grown(&mbr, &sectors[&data_link()], size, 0xdead_beef).unwrap();
    assert_eq!(new[..442], mbr[..442]);
    assert_eq!(signature(&new), Some(0xdead_b1b1));
}

#[test]
fn a_card_that_is_too_small_or_too_large_is_known() {
    let sectors = disk();
    let (mbr, link) = (&sectors[&0], &sectors[&data_link()]);
    assert!(matches!(
        grown(mbr, link, layout::DATA.end() - 1, 1),
        Err(MbrError::SmallCard { .. })
    ));
    let [(_, ebr), _] = grown(mbr, link, 9 << 40, 1).unwrap();
    assert!(
        take(&ebr, 0, 0).unwrap().size <= u64::from(u32::MAX) * SECTOR,
        "beyond 2 TiB an MBR cannot count"
    );
}

#[test]
fn broken_tables_are_errors_not_loops() {
    let empty = Disk::from([(0, [0; 512])]);
    assert_eq!(read(&empty), Err(ReadError::Table(MbrError::NoTable(0))));

    let mut looped = disk();
    let itself = Partition {
        number: 0,
        kind: EXTENDED_CHS,
        active: false,
        start: data_link(),
        size: 1 << 20,
    };
    let last = looped.get_mut(&data_link()).unwrap();
    put(last, 1, &itself, layout::EXTENDED_START).unwrap();
    assert_eq!(read(&looped), Err(ReadError::Table(MbrError::Endless)));

    let mut cut = disk();
    cut.insert(data_link(), [0; 512]);
    let missing = MbrError::NoTable(data_link());
    assert_eq!(read(&cut), Err(ReadError::Table(missing)));

    cut.remove(&data_link());
    assert_eq!(read(&cut), Err(ReadError::Disk("read beyond the table")));

    let mut two = disk();
    let container = *card(0).get(layout::EXTENDED).unwrap();
    put(two.get_mut(&0).unwrap(), 0, &container, 0).unwrap();
    assert_eq!(read(&two), Err(ReadError::Table(MbrError::TwoContainers)));
}

#[test]
fn tables_that_lie_are_refused() {
    let table = card(1);
    assert_eq!(
        table.fits(layout::IMAGE_SIZE - 1),
        Err(MbrError::PastEnd(layout::EXTENDED))
    );
    let change = |f: &dyn Fn(&mut Vec<Partition>)| {
        let mut table = card(1);
        f(&mut table.partitions);
        table.encode().unwrap_err()
    };
    let logical = |p: &&mut Partition| p.number == 5;
    for (danger, error, want) in [
        (
            "no container",
            change(&|all| all.retain(|p| !p.is_container())),
            MbrError::NoContainer,
        ),
        (
            "number 0",
            change(&|all| all[0].number = 0),
            MbrError::Numbers,
        ),
        (
            "half a sector",
            change(&|all| all[0].start += 1),
            MbrError::Crooked(1),
        ),
        (
            "beyond 2 TiB",
            change(&|all| all[0].start = 3 << 40),
            MbrError::TooFar,
        ),
        (
            "a gap in the numbers",
            change(&|all| all.retain(|p| p.number != 5)),
            MbrError::Numbers,
        ),
        (
            "no room for the link",
            change(&|all| all.iter_mut().find(logical).unwrap().start = layout::EXTENDED_START),
            MbrError::NoRoom(5),
        ),
        (
            "out of the container",
            change(&|all| all.iter_mut().find(logical).unwrap().size = 1 << 40),
            MbrError::Outside(5),
        ),
    ] {
        assert_eq!(error, want, "{danger}: {error}");
    }
}
