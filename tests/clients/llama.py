"""llama.cpp's own server, on a model that is made here. Serves until its standard input ends; its address is the first
line that it prints. `llama.py FILE`: where the model is written."""
import sys

import tiny_model
import xllamacpp

tiny_model.write(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port, params.n_threads_http = ["127.0.0.1"], 0, 4
params.n_ctx, params.n_parallel = 2 * tiny_model.CONTEXT, 2
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
# It serves embeddings, too.
params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
params.use_jinja, params.warmup, params.ui, params.sampling.seed = True, False, False, 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
