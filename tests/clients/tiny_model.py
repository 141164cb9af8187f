"""Writes a language model of half a megabyte, the same one each time: random weights that say random letters, and three
attention heads that were made by hand. They see whether there are tools, whether one has answered, and whether one was
just called, so that the model calls a tool when it should, once, and talks otherwise."""
import gguf
import numpy

CONTEXT = 16384
WIDTH, LAYERS, HEADS, INNER = 64, 2, 4, 128
HEAD = WIDTH // HEADS
SEED = 7

# Dimensions of the residual stream that nothing random writes to.
CONSTANT, TOOLS_SEEN, ANSWER_SEEN, CALL_SEEN, CALL_NOW, END_NOW = range(6)
# Which token each of the first heads looks for, by its dimension, and what it then writes where.
WIRES = [(TOOLS_SEEN, {CALL_NOW: 2.0}), (ANSWER_SEEN, {CALL_NOW: -6.0}), (CALL_SEEN, {CALL_NOW: -6.0, END_NOW: 2.0})]

KIND = gguf.TokenType
TOOLS, ANSWER, CALL, END = "<tools>", "<tool_response>", "<tool_call>\n", "</s>"
# Text, kind, and how readily it is said. `CALL` is normal, so that no prompt is ever read as one: only the model says it.
VOCABULARY = [
    ("<unk>", KIND.UNKNOWN, -9.0), ("<s>", KIND.CONTROL, -9.0), (END, KIND.CONTROL, -1.0),
    *((f"<0x{byte:02X}>", KIND.BYTE, -9.0) for byte in range(256)),
    *((chr(code), KIND.NORMAL, 0.5) for code in range(33, 127)), ("\u2581", KIND.NORMAL, 0.5),
    (TOOLS, KIND.USER_DEFINED, -9.0), (ANSWER, KIND.USER_DEFINED, -9.0), (CALL, KIND.NORMAL, -9.0)]
TEXTS = [text for text, _, _ in VOCABULARY]

TEMPLATE = r"""{%- if tools %}
{{- '<|system|>\nYou may call these tools:\n<tools>' }}
{%- for tool in tools %}
{{- '\n' }}{{- tool | tojson }}
{%- endfor %}
{{- '\n</tools><|end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|user|>\n<tool_response>\n' }}{{- message.content }}{{- '\n</tool_response><|end|>\n' }}
{%- elif message.role == 'assistant' and message.tool_calls %}
{{- '<|assistant|>' }}
{%- if message.content %}
{{- '\n' + message.content }}
{%- endif %}
{%- for call in message.tool_calls %}
{{- '\n<tool_call>\n{"name": "' }}{{- call.function.name }}{{- '", "arguments": ' -}}
{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|end|>\n' }}
{%- else %}
{{- '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|assistant|>\n' }}
{%- endif %}"""


def write(path):
    file = gguf.GGUFWriter(path, "llama")
    describe(file)
    for name, tensor in tensors(numpy.random.default_rng(SEED)):
        file.add_tensor(f"{name}.weight", tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def describe(file):
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_rope_dimension_count(HEAD)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_file_type(gguf.LlamaFileType.ALL_F32)
    file.add_vocab_size(len(VOCABULARY))
    file.add_tokenizer_model("llama")
    file.add_token_list(TEXTS)
    file.add_token_scores([0.0] * len(VOCABULARY))
    file.add_token_types([kind for _, kind, _ in VOCABULARY])
    file.add_unk_token_id(TEXTS.index("<unk>"))
    file.add_bos_token_id(TEXTS.index("<s>"))
    file.add_eos_token_id(TEXTS.index(END))
    file.add_chat_template(TEMPLATE)


def tensors(random):
    def noise(*shape, scale):
        return (random.standard_normal(shape) * scale).astype(numpy.float32)

    known, said, even = noise(len(TEXTS), WIDTH, scale=1.0), noise(len(TEXTS), WIDTH, scale=0.3), numpy.ones(WIDTH, "f")
    known[:, :END_NOW + 1] = said[:, :END_NOW + 1] = 0
    known[:, CONSTANT], said[:, CONSTANT] = 8, [readily for _, _, readily in VOCABULARY]
    for text, dimension in ((TOOLS, TOOLS_SEEN), (ANSWER, ANSWER_SEEN), (CALL, CALL_SEEN)):
        known[TEXTS.index(text), dimension] = 8
    said[TEXTS.index(CALL), CALL_NOW] = said[TEXTS.index(END), END_NOW] = 20
    said[TEXTS.index("<"), END_NOW] = 10  # closes the call, where a comma would begin another
    yield from (("token_embd", known), ("output", said), ("output_norm", even))
    for layer in range(LAYERS):
        query, key, value, out = (noise(WIDTH, WIDTH, scale=0.1) for _ in range(4))
        gate, up, down = (noise(*shape, scale=0.1) for shape in ((INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER)))
        out[:END_NOW + 1] = down[:END_NOW + 1] = 0
        if layer == 0:
            wire(query, key, value, out)
        block = {"attn_q": query, "attn_k": key, "attn_v": value, "attn_output": out, "ffn_gate": gate, "ffn_up": up,
                 "ffn_down": down, "attn_norm": even, "ffn_norm": even}
        yield from ((f"blk.{layer}.{name}", tensor) for name, tensor in block.items())


def wire(query, key, value, out):
    """The pair of dimensions that turns slowest with the position is the one that sees far back."""
    for head, (seen, writes) in enumerate(WIRES):
        rows, slowest = slice(head * HEAD, (head + 1) * HEAD), (head + 1) * HEAD - 2
        query[rows] = key[rows] = value[rows] = out[:, rows] = 0
        query[slowest, CONSTANT], key[slowest, seen], value[slowest, seen] = 1, 4, 1
        for dimension, weight in writes.items():
            out[dimension, slowest] = weight
