"""A small Llama of random weights, drawn for the scenes' own chat tokenizer."""

model = dict(
    llm=dict(
        type="HuggingFaceLLM",
        tokenizer="scenes-chat",
        config=dict(
            model_type="llama",
            initializer_range=0.0625,  # of 1 / sqrt(256)
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,  # bypass_duplicate: embedding and output are one matrix
        ),
    )
)
