use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// A message of the server's plugin `pgoutput` (protocol version 1) about one committed transaction.
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
    /// A message that is not used here.
    Other,
}

/// A published table.
#[derive(Debug, PartialEq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
}

/// A column of a published table.
#[derive(Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
}

/// The value of one column of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    /// Stored out of line and not rewritten, so the log does not have it.
    Unchanged,
    Text(String),
}

/// Decodes messages. It keeps the tables, which the server describes once.
#[derive(Default)]
pub struct Decoder(HashMap<u32, Arc<Table>>);

/// A message is cut off, or names a table that was never described.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("cannot decode a message of the database's log")]
pub struct Malformed;

impl Decoder {
    pub fn decode(&mut self, mut data: Bytes) -> Result<Message, Malformed> {
        Ok(match take_u8(&mut data)? {
            b'B' => Message::Begin,
            b'C' => {
                take(&mut data, 17)?;
                Message::Commit { at: take_i64(&mut data)?.saturating_add(EPOCH_MICROSECONDS) }
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
                // The old row or its key, if the table publishes it.
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
    /// The text of the column `name` in a row of this table.
    pub fn text<'a>(&self, row: &'a [Cell], name: &str) -> Option<&'a str> {
        match self.cell(row, name)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of the column `name` in a row of this table.
    pub fn cell<'a>(&self, row: &'a [Cell], name: &str) -> Option<&'a Cell> {
        row.get(self.columns.iter().position(|column| column.name == name)?)
    }
}

fn table(data: &mut Bytes) -> Result<Table, Malformed> {
    let (schema, name) = (take_text(data)?, take_text(data)?);
    take_u8(data)?;
    let mut columns = Vec::new();
    for _ in 0..take_u16(data)? {
        take_u8(data)?;
        columns.push(Column { name: take_text(data)?, type_oid: take_u32(data)? });
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
    data.try_get_u8().map_err(|_| Malformed)
}

fn take_u16(data: &mut Bytes) -> Result<u16, Malformed> {
    data.try_get_u16().map_err(|_| Malformed)
}

fn take_u32(data: &mut Bytes) -> Result<u32, Malformed> {
    data.try_get_u32().map_err(|_| Malformed)
}

fn take_i64(data: &mut Bytes) -> Result<i64, Malformed> {
    data.try_get_i64().map_err(|_| Malformed)
}

/// Text that ends with a NUL.
fn take_text(data: &mut Bytes) -> Result<String, Malformed> {
    let end = data.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    let text = take(data, end)?;
    take_u8(data)?;
    String::from_utf8(text.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"R\0\0\0\x07public\0t\0d\0\x02\x01id\0\0\0\0\x17\0\0\0\0\0body\0\0\0\0\x19\0\0\0\0";
    const INSERT: &[u8] = b"I\0\0\0\x07N\0\x02t\0\0\0\x011n";
    const UPDATE: &[u8] = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u";

    #[test]
    fn rows_of_described_tables_are_decoded() {
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
    fn a_cut_off_message_is_an_error() {
        for whole in [TABLE, INSERT, UPDATE, b"C\0aaaaaaaabbbbbbbbcccccccc"] {
            for end in 0..whole.len() {
                let mut decoder = Decoder::default();
                decoder.decode(Bytes::from_static(TABLE)).expect("the table");
                assert_eq!(decoder.decode(Bytes::from_static(&whole[..end])), Err(Malformed));
            }
        }
    }
}
