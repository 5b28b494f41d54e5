use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

/// Seconds from 1970 to 2000, from where PostgreSQL counts.
const EPOCH: i64 = 946_684_800;

/// What the server's plugin `pgoutput` (protocol version 1) says of one committed transaction, message by message.
#[derive(Debug, PartialEq)]
pub enum Message {
    Begin,
    /// Microseconds since 1970.
    Commit {
        at: i64,
    },
    Insert {
        table: Arc<Table>,
        row: Vec<Cell>,
    },
    Update {
        table: Arc<Table>,
        row: Vec<Cell>,
    },
    /// Of no interest here.
    Other,
}

/// A published table.
#[derive(Debug, PartialEq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// Name and the type's OID.
    pub columns: Vec<(String, u32)>,
}

/// One column of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    /// Stored out of line, and not written anew: not in the log.
    Unchanged,
    Text(String),
}

/// Reads messages; it remembers the tables, which are described once.
#[derive(Default)]
pub struct Decoder(HashMap<u32, Arc<Table>>);

/// A message breaks off, or speaks of a table that was never described.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the database's log holds a message that cannot be read")]
pub struct Malformed;

impl Decoder {
    pub fn decode(&mut self, mut data: Bytes) -> Result<Message, Malformed> {
        Ok(match take_u8(&mut data)? {
            b'B' => Message::Begin,
            b'C' => {
                take(&mut data, 17)?;
                Message::Commit { at: take_i64(&mut data)? + EPOCH * 1_000_000 }
            }
            b'R' => {
                let id = take_u32(&mut data)?;
                let table = table(&mut data)?;
                self.0.insert(id, Arc::new(table));
                Message::Other
            }
            b'I' => {
                let table = self.table(&mut data)?;
                take_u8(&mut data)?;
                Message::Insert { row: row(&mut data, &table)?, table }
            }
            b'U' => {
                let table = self.table(&mut data)?;
                // The row before, or its key, where the table sends it.
                if take_u8(&mut data)? != b'N' {
                    row(&mut data, &table)?;
                    take_u8(&mut data)?;
                }
                Message::Update { row: row(&mut data, &table)?, table }
            }
            _ => Message::Other,
        })
    }

    fn table(&self, data: &mut Bytes) -> Result<Arc<Table>, Malformed> {
        self.0.get(&take_u32(data)?).cloned().ok_or(Malformed)
    }
}

impl Table {
    /// The text of the column of that name, in a row of this table.
    pub fn text<'a>(&self, row: &'a [Cell], name: &str) -> Option<&'a str> {
        match self.cell(row, name)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn cell<'a>(&self, row: &'a [Cell], name: &str) -> Option<&'a Cell> {
        row.get(self.columns.iter().position(|(column, _)| column == name)?)
    }
}

fn table(data: &mut Bytes) -> Result<Table, Malformed> {
    let (schema, name) = (take_text(data)?, take_text(data)?);
    take_u8(data)?;
    let mut columns = Vec::new();
    for _ in 0..take_u16(data)? {
        take_u8(data)?;
        let column = take_text(data)?;
        columns.push((column, take_u32(data)?));
        take_u32(data)?;
    }
    Ok(Table { schema, name, columns })
}

fn row(data: &mut Bytes, table: &Table) -> Result<Vec<Cell>, Malformed> {
    let count = usize::from(take_u16(data)?);
    if count != table.columns.len() {
        return Err(Malformed);
    }
    let cell = |_| match take_u8(data)? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        b't' => {
            let len = take_u32(data)? as usize;
            let text = take(data, len)?;
            String::from_utf8(text.to_vec()).map(Cell::Text).map_err(|_| Malformed)
        }
        _ => Err(Malformed),
    };
    (0..count).map(cell).collect()
}

fn take(data: &mut Bytes, len: usize) -> Result<Bytes, Malformed> {
    if data.len() < len { Err(Malformed) } else { Ok(data.split_to(len)) }
}

fn take_u8(data: &mut Bytes) -> Result<u8, Malformed> {
    Ok(take(data, 1)?.get_u8())
}

fn take_u16(data: &mut Bytes) -> Result<u16, Malformed> {
    Ok(take(data, 2)?.get_u16())
}

fn take_u32(data: &mut Bytes) -> Result<u32, Malformed> {
    Ok(take(data, 4)?.get_u32())
}

fn take_i64(data: &mut Bytes) -> Result<i64, Malformed> {
    Ok(take(data, 8)?.get_i64())
}

/// Up to a NUL.
fn take_text(data: &mut Bytes) -> Result<String, Malformed> {
    let end = data.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    let text = take(data, end)?;
    data.advance(1);
    String::from_utf8(text.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"R\0\0\0\x07public\0t\0d\0\x02\x01id\0\0\0\0\x17\0\0\0\0\0body\0\0\0\0\x19\0\0\0\0";
    const INSERT: &[u8] = b"I\0\0\0\x07N\0\x02t\0\0\0\x011n";
    const UPDATE: &[u8] = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u";

    #[test]
    fn it_reads_rows_of_tables_it_was_told_of() {
        let mut decoder = Decoder::default();
        let mut decode = |data: &'static [u8]| decoder.decode(Bytes::from_static(data));
        assert_eq!(decode(INSERT), Err(Malformed));
        assert_eq!(decode(TABLE), Ok(Message::Other));
        let Ok(Message::Insert { table, row }) = decode(INSERT) else { panic!("an insert") };
        assert_eq!((table.name.as_str(), table.text(&row, "id"), table.text(&row, "body")), ("t", Some("1"), None));
        let Ok(Message::Update { row, .. }) = decode(UPDATE) else { panic!("an update") };
        assert_eq!(row, [Cell::Text("2".into()), Cell::Unchanged]);
    }

    #[test]
    fn what_breaks_off_is_an_error_and_no_panic() {
        for whole in [TABLE, INSERT, UPDATE, b"C\0aaaaaaaabbbbbbbbcccccccc"] {
            for end in 0..whole.len() {
                let mut decoder = Decoder::default();
                decoder.decode(Bytes::from_static(TABLE)).expect("the table");
                assert_eq!(decoder.decode(Bytes::from_static(&whole[..end])), Err(Malformed));
            }
        }
    }
}
