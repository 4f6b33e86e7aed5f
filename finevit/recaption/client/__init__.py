"""The client of OpenAI-compatible chat completions, as vLLM, SGLang, llama.cpp and ``finevit serve`` have them."""
