//! Made tables: what no writer would say, said on purpose, one lie at a time.
//!
//! ```text
//!   Made: columns, version, batches --bytes--> head | message, body | message, body ... | footer | length | "ARROW1"
//! ```
//!
//! Chance seldom meets the one number that matters (`replay_table_hostile`): here each is set by name.

use arrow_ipc::convert::IpcSchemaEncoder;
use arrow_ipc::{
    Block, BodyCompressionArgs, BodyCompressionMethod, Buffer, CompressionType, DecimalArgs,
    DictionaryBatchArgs, DictionaryEncodingArgs, Endianness, FieldArgs, FieldNode, FloatingPointArgs,
    FooterArgs, IntArgs, MessageArgs, MessageHeader, MetadataVersion, Precision, RecordBatchArgs, SchemaArgs,
    TimestampArgs, Type,
};
use arrow_schema::Schema;

/// What a column is, and, if it has one, its dictionary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    Nanos,
    Long,
    Number,
    Bool,
    Text,
    View,
    /// Bits and scale.
    Decimal(i32, i32),
}

/// A batch of rows, or of a dictionary's values.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) n_rows: i64,
    /// Of each column: rows, and nulls.
    pub(crate) nodes: Vec<(i64, i64)>,
    /// Offsets and lengths in the body.
    pub(crate) buffers: Vec<(i64, i64)>,
    pub(crate) n_views: Vec<i64>,
    /// Codec and method.
    pub(crate) packed: Option<(i8, i8)>,
    pub(crate) body: Vec<u8>,
    /// What the footer says that the body has more than that.
    pub(crate) more_bytes: i64,
    /// Of that number, and whether it is added to what is there.
    pub(crate) dictionary: Option<(i64, bool)>,
}

impl Batch {
    /// Rows of columns: how many nulls each has, and its buffers.
    pub(crate) fn of(n_rows: i64, columns: &[(i64, &[&[u8]])]) -> Self {
        let (mut body, mut buffers) = (vec![], vec![]);
        for bytes in columns.iter().flat_map(|(_, buffers)| *buffers) {
            buffers.push((i64::try_from(body.len()).unwrap(), i64::try_from(bytes.len()).unwrap()));
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(64), 0);
        }
        Self {
            n_rows,
            nodes: columns.iter().map(|(n_nulls, _)| (n_rows, *n_nulls)).collect(),
            buffers,
            n_views: vec![],
            packed: None,
            body,
            more_bytes: 0,
            dictionary: None,
        }
    }

    pub(crate) fn of_dictionary(self, id: i64, is_delta: bool) -> Self {
        Self { dictionary: Some((id, is_delta)), ..self }
    }

    fn message(&self) -> Vec<u8> {
        let mut to = IpcSchemaEncoder::new().schema_to_fb(&Schema::empty());
        to.reset();
        let nodes: Vec<_> = self.nodes.iter().map(|(n, n_nulls)| FieldNode::new(*n, *n_nulls)).collect();
        let buffers: Vec<_> = self.buffers.iter().map(|(at, len)| Buffer::new(*at, *len)).collect();
        let (nodes, buffers) = (to.create_vector(&nodes), to.create_vector(&buffers));
        let n_views = to.create_vector(&self.n_views);
        let packed = self.packed.map(|(codec, method)| {
            let (codec, method) = (CompressionType(codec), BodyCompressionMethod(method));
            arrow_ipc::BodyCompression::create(&mut to, &BodyCompressionArgs { codec, method })
        });
        let rows = RecordBatchArgs {
            length: self.n_rows,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression: packed,
            variadicBufferCounts: Some(n_views),
        };
        let rows = arrow_ipc::RecordBatch::create(&mut to, &rows);
        let (header_type, header) = match self.dictionary {
            None => (MessageHeader::RecordBatch, rows.as_union_value()),
            Some((id, is_delta)) => {
                let args = DictionaryBatchArgs { id, data: Some(rows), isDelta: is_delta };
                let dictionary = arrow_ipc::DictionaryBatch::create(&mut to, &args);
                (MessageHeader::DictionaryBatch, dictionary.as_union_value())
            }
        };
        let message = MessageArgs {
            version: MetadataVersion::V5,
            header_type,
            header: Some(header),
            bodyLength: i64::try_from(self.body.len()).unwrap(),
            custom_metadata: None,
        };
        let message = arrow_ipc::Message::create(&mut to, &message);
        to.finish(message, None);
        to.finished_data().to_vec()
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) columns: Vec<(&'static str, Is, Option<i64>)>,
    pub(crate) version: MetadataVersion,
    pub(crate) endianness: Endianness,
    pub(crate) dictionaries: Vec<Batch>,
    pub(crate) batches: Vec<Batch>,
}

impl Made {
    pub(crate) fn of(columns: &[(&'static str, Is)], batches: Vec<Batch>) -> Self {
        let columns = columns.iter().map(|(name, is)| (*name, *is, None)).collect();
        let (version, endianness) = (MetadataVersion::V5, Endianness::Little);
        Self { columns, version, endianness, dictionaries: vec![], batches }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"ARROW1\0\0".to_vec();
        let mut put = |batch: &Batch| {
            let offset = bytes.len();
            let mut message = batch.message();
            message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
            bytes.extend_from_slice(&[0xff; 4]);
            bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&message);
            let metadata = i32::try_from(bytes.len() - offset).unwrap();
            bytes.extend_from_slice(&batch.body);
            bytes.resize(bytes.len().next_multiple_of(64), 0);
            let body = i64::try_from(batch.body.len()).unwrap() + batch.more_bytes;
            Block::new(i64::try_from(offset).unwrap(), metadata, body)
        };
        let dictionaries: Vec<_> = self.dictionaries.iter().map(&mut put).collect();
        let batches: Vec<_> = self.batches.iter().map(&mut put).collect();
        let footer = self.footer(&dictionaries, &batches);
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(b"ARROW1");
        bytes
    }

    fn footer(&self, dictionaries: &[Block], batches: &[Block]) -> Vec<u8> {
        let mut to = IpcSchemaEncoder::new().schema_to_fb(&Schema::empty());
        to.reset();
        let mut fields = vec![];
        for (name, is, dictionary) in &self.columns {
            let name = to.create_string(name);
            let (type_type, type_) = match is {
                Is::Nanos => {
                    let args = TimestampArgs { unit: arrow_ipc::TimeUnit::NANOSECOND, timezone: None };
                    (Type::Timestamp, arrow_ipc::Timestamp::create(&mut to, &args).as_union_value())
                }
                Is::Long => {
                    let args = IntArgs { bitWidth: 64, is_signed: true };
                    (Type::Int, arrow_ipc::Int::create(&mut to, &args).as_union_value())
                }
                Is::Number => {
                    let args = FloatingPointArgs { precision: Precision::DOUBLE };
                    (Type::FloatingPoint, arrow_ipc::FloatingPoint::create(&mut to, &args).as_union_value())
                }
                Is::Bool => {
                    (Type::Bool, arrow_ipc::Bool::create(&mut to, &arrow_ipc::BoolArgs {}).as_union_value())
                }
                Is::Text => {
                    (Type::Utf8, arrow_ipc::Utf8::create(&mut to, &arrow_ipc::Utf8Args {}).as_union_value())
                }
                Is::View => {
                    let args = arrow_ipc::Utf8ViewArgs {};
                    (Type::Utf8View, arrow_ipc::Utf8View::create(&mut to, &args).as_union_value())
                }
                Is::Decimal(bits, scale) => {
                    let args = DecimalArgs { precision: 9, scale: *scale, bitWidth: *bits };
                    (Type::Decimal, arrow_ipc::Decimal::create(&mut to, &args).as_union_value())
                }
            };
            let dictionary = dictionary.map(|id| {
                let args = DictionaryEncodingArgs { id, ..DictionaryEncodingArgs::default() };
                arrow_ipc::DictionaryEncoding::create(&mut to, &args)
            });
            let field = FieldArgs {
                name: Some(name),
                nullable: true,
                type_type,
                type_: Some(type_),
                dictionary,
                ..FieldArgs::default()
            };
            fields.push(arrow_ipc::Field::create(&mut to, &field));
        }
        let fields = to.create_vector(&fields);
        let schema =
            SchemaArgs { endianness: self.endianness, fields: Some(fields), ..SchemaArgs::default() };
        let schema = arrow_ipc::Schema::create(&mut to, &schema);
        let (dictionaries, batches) = (to.create_vector(dictionaries), to.create_vector(batches));
        let footer = FooterArgs {
            version: self.version,
            schema: Some(schema),
            dictionaries: Some(dictionaries),
            recordBatches: Some(batches),
            custom_metadata: None,
        };
        let footer = arrow_ipc::Footer::create(&mut to, &footer);
        to.finish(footer, None);
        to.finished_data().to_vec()
    }
}
