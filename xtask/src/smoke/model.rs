//! A generated model for llama.cpp: a valid GGUF file of a quarter of a megabyte.
//!
//! Attention and feed-forward are zero, so that the output depends on the last token only, and the output matrix is a
//! table of successors. So it answers every prompt with [`WORD`], at the cost of reading the prompt.

use std::path::Path;

use anyhow::Context as _;

use crate::io::files;

/// No letter twice: a letter alone determines its successor.
const WORD: &[u8] = b"ready";
/// Ends a prompt; its successor is the first letter.
const BEGIN: &str = "<|answer|>";
const MARKS: [&str; 4] = ["<unk>", "<s>", "</s>", BEGIN];
/// Context size for the long prompts of OpenClaw and OpenCode, of about two bytes per token.
pub(super) const CONTEXT: u32 = 131_072;
/// One dimension for each token with a successor and one for all others, padded to the size that kernels need.
const WIDTH: usize = 32;
const HEAD: usize = 32;

/// Contains tool calls in the usual form, so that llama.cpp does not fall back to a form that forces JSON.
const TEMPLATE: &str = "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>\
    For each call: <tool_call>{\"name\": NAME, \"arguments\": ARGUMENTS}</tool_call>{% endif %}\
    {% for message in messages %}{{ message.role }}: {{ message.content }}\
    {% if message.tool_calls %}{% for call in message.tool_calls %}<tool_call>\
    {\"name\": {{ call.function.name | tojson }}, \"arguments\": {{ call.function.arguments | tojson }}}\
    </tool_call>{% endfor %}{% endif %}\n{% endfor %}\
    {% if add_generation_prompt %}<|answer|>{% endif %}";

/// Writes the model. Other users can read it, for the container's user.
pub(super) fn write(path: &Path) -> anyhow::Result<()> {
    fs_err::write(path, gguf()).context("cannot write the model")?;
    files::set_executable(path, false)
}

fn token_of(byte: u8) -> usize {
    MARKS.len() + usize::from(byte)
}

/// The tokens with a successor other than the end token: they spell the word.
fn successors() -> Vec<(usize, usize)> {
    let begin = MARKS.iter().position(|mark| *mark == BEGIN).unwrap_or_default();
    let spelled: Vec<usize> = std::iter::once(begin).chain(WORD.iter().map(|byte| token_of(*byte))).collect();
    spelled.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// The token that ends a response.
const END: usize = 2;
/// The tokenizer's mark for a space.
const SPACE: char = '\u{2581}';

/// Every byte, so that no text is unknown; and pairs of letters, which halve the length of prompts.
fn vocabulary() -> Vec<(String, u32)> {
    // Token types of GGUF: 1 normal, 2 unknown, 3 control, 6 byte.
    let marks = MARKS.iter().enumerate().map(|(index, mark)| ((*mark).to_owned(), if index == 0 { 2 } else { 3 }));
    let bytes = (0..=255).map(|byte: u8| (format!("<0x{byte:02X}>"), 6));
    let first = || std::iter::once(SPACE).chain('a'..='z');
    let pairs = first().flat_map(|one| first().map(move |two| (format!("{one}{two}"), 1)));
    marks.chain(bytes).chain([(SPACE.to_string(), 1)]).chain(pairs).collect()
}

fn gguf() -> Vec<u8> {
    let tokens = vocabulary();
    let mut meta = Meta::default();
    meta.text("general.architecture", "llama");
    meta.text("general.name", "smoke test");
    meta.number("llama.block_count", 1);
    meta.number("llama.context_length", CONTEXT);
    meta.number("llama.embedding_length", small(WIDTH));
    meta.number("llama.feed_forward_length", small(HEAD));
    meta.number("llama.attention.head_count", 1);
    meta.number("llama.attention.head_count_kv", 1);
    meta.number("llama.attention.key_length", small(HEAD));
    meta.number("llama.attention.value_length", small(HEAD));
    meta.number("llama.rope.dimension_count", small(HEAD));
    meta.add("llama.attention.layer_norm_rms_epsilon", FLOAT, 1e-5f32.to_le_bytes());
    meta.text("tokenizer.ggml.model", "llama");
    meta.list("tokenizer.ggml.tokens", TEXT, tokens.iter().map(|(token, _)| text(token)));
    meta.list("tokenizer.ggml.scores", FLOAT, tokens.iter().map(|_| 0f32.to_le_bytes()));
    meta.list("tokenizer.ggml.token_type", INTEGER, tokens.iter().map(|(_, kind)| kind.to_le_bytes()));
    meta.number("tokenizer.ggml.unknown_token_id", 0);
    meta.number("tokenizer.ggml.bos_token_id", 1);
    meta.number("tokenizer.ggml.eos_token_id", 2);
    meta.add("tokenizer.ggml.add_bos_token", FLAG, [u8::from(false)]);
    meta.add("tokenizer.ggml.add_space_prefix", FLAG, [u8::from(false)]);
    meta.text("tokenizer.chat_template", TEMPLATE);

    let mut weights = Weights::default();
    let ones = vec![1.0; WIDTH];
    let nothing = vec![0.0; WIDTH * HEAD];
    let followed = successors();
    let mut embedding = vec![0.0; WIDTH * tokens.len()];
    let mut output = embedding.clone();
    for token in 0..tokens.len() {
        let place = followed.iter().position(|(one, _)| *one == token).unwrap_or(followed.len());
        embedding[token * WIDTH + place] = 1.0;
    }
    // The norm turns the one into a 6; ten times that leaves no other outcome at any temperature.
    for (place, (_, next)) in followed.iter().enumerate() {
        output[next * WIDTH + place] = 10.0;
    }
    output[END * WIDTH + followed.len()] = 10.0;
    weights.add("token_embd.weight", &[WIDTH, tokens.len()], &embedding);
    weights.add("output_norm.weight", &[WIDTH], &ones);
    weights.add("output.weight", &[WIDTH, tokens.len()], &output);
    weights.add("blk.0.attn_norm.weight", &[WIDTH], &ones);
    weights.add("blk.0.ffn_norm.weight", &[WIDTH], &ones);
    for name in ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"] {
        weights.add(&format!("blk.0.{name}.weight"), &[WIDTH, HEAD], &nothing);
    }
    for name in ["attn_output", "ffn_down"] {
        weights.add(&format!("blk.0.{name}.weight"), &[HEAD, WIDTH], &nothing);
    }

    let (version, counts) = (3u32.to_le_bytes(), [weights.count, meta.count].map(u64::to_le_bytes).concat());
    let mut file = [&b"GGUF"[..], &version, &counts, &meta.bytes, &weights.infos].concat();
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    file.extend(weights.data);
    file
}

/// GGUF's default alignment of tensors.
const ALIGNMENT: usize = 32;
// GGUF's numbers of value types.
const NUMBER: u32 = 4;
const INTEGER: u32 = 5;
const FLOAT: u32 = 6;
const FLAG: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Keys and values of the header.
#[derive(Debug, Default)]
struct Meta {
    count: u64,
    bytes: Vec<u8>,
}

impl Meta {
    fn add(&mut self, key: &str, kind: u32, value: impl IntoIterator<Item = u8>) {
        self.count += 1;
        self.bytes.extend(text(key));
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, TEXT, text(value));
    }

    fn number(&mut self, key: &str, value: u32) {
        self.add(key, NUMBER, value.to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: u32, values: impl ExactSizeIterator<Item: IntoIterator<Item = u8>>) {
        let length = values.len() as u64;
        self.add(key, LIST, kind.to_le_bytes().into_iter().chain(length.to_le_bytes()).chain(values.flatten()));
    }
}

/// Tensors: their descriptions, and their data.
#[derive(Debug, Default)]
struct Weights {
    count: u64,
    infos: Vec<u8>,
    data: Vec<u8>,
}

impl Weights {
    fn add(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.count += 1;
        self.infos.extend(text(name));
        self.infos.extend(small(shape.len()).to_le_bytes());
        self.infos.extend(shape.iter().flat_map(|size| (*size as u64).to_le_bytes()));
        // Type 0: 32-bit floats.
        self.infos.extend(0u32.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_follows_the_mark_and_then_the_end() {
        let next: std::collections::BTreeMap<usize, usize> = successors().into_iter().collect();
        let mut token = MARKS.iter().position(|mark| *mark == BEGIN).unwrap();
        let mut word = Vec::new();
        while let Some(&following) = next.get(&token) {
            word.push(u8::try_from(following - MARKS.len()).unwrap());
            token = following;
        }
        assert_eq!(word, WORD);
        assert!(next.len() < WIDTH && MARKS[END] == "</s>");
    }

    #[test]
    fn the_file_starts_with_a_gguf_header_and_contains_all_weights() {
        let file = gguf();
        assert_eq!(&file[..8], b"GGUF\x03\0\0\0");
        let floats = WIDTH * vocabulary().len() * 2 + WIDTH * 3 + WIDTH * HEAD * 7;
        assert!(file.len() > floats * 4 && file.len() < floats * 4 + 64 * 1024, "{}", file.len());
    }
}
