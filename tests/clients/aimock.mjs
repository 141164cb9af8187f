// aimock, a provider that others wrote: OpenAI at /v1/chat/completions, Anthropic at /v1/messages. What it says hangs on
// the last user message. Serves until its standard input ends; its address is the first line that it prints. With an argument,
// it answers nobody who has not this key.
import { LLMock } from "@copilotkit/aimock";

const usage = { prompt_tokens: 40, completion_tokens: 12, total_tokens: 52, input_tokens: 40, output_tokens: 12 };
const call = { name: "get_weather", arguments: { city: "Paris" } };
const busy = { error: { message: "slow down, holder of sk-upstream-secret", type: "rate_limit_error" }, status: 429 };

const [key] = process.argv.slice(2);
const auth = key === undefined ? {} : { auth: { apiKeys: [key] } };
const mock = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent", ...auth });
mock.on({ userMessage: "get_weather", hasToolResult: false }, { toolCalls: [call], usage });
mock.on({ userMessage: "get_weather", hasToolResult: true }, { content: "It is 12 degrees in Paris.", usage });
mock.on({ userMessage: "think" }, { content: "Twelve.", reasoning: "Six and six make twelve.", usage });
mock.on({ userMessage: "JSON" }, { content: '{"city":"Paris"}', usage });
mock.on({ userMessage: "on and on" }, { content: "and on ".repeat(3000) }, { latency: 25, chunkSize: 7 });
mock.on({ userMessage: "busy" }, { ...busy, retryAfter: 1 });
mock.on({ userMessage: "break" }, { content: "and on ".repeat(50) }, { latency: 25, chunkSize: 7, truncateAfterChunks: 5 });
mock.on({ userMessage: "Hello" }, { content: "The quick brown fox jumps over the lazy dog", usage });
await mock.start();
console.log(mock.url);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
