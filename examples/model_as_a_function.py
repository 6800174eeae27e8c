"""Calls the network in PyTorch: `model(ids, state) -> (logits, state)`. Run train_and_sample.py first."""

import torch

import unroll

loaded = unroll.load("runs/book")
model, tokenizer = loaded.model, loaded.tokenizer

# A text is read after the start symbol. With no state, the model has read nothing.
ids = torch.tensor([[tokenizer.start_id, *tokenizer.encode("It was a bright cold day in April")]])  # (B, T)
with torch.no_grad():
    whole, _ = model(ids)  # logits (B, T, V): row t is the prediction after symbol t

    # The state is a value: an (h, c) for each LSTM layer. The model keeps nothing; the caller carries it.
    first, state = model(ids[:, :10])
    second, state = model(ids[:, 10:], state)
    print("two pieces equal the whole:", torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-5))

    # So generating is a loop of one step: the symbol in, its logits and the state out.
    symbol = second[:, -1].argmax(-1, keepdim=True)  # (B, 1)
    for _ in range(40):
        print(tokenizer.decode(symbol[0].tolist()), end="")
        logits, state = model(symbol, state)
        symbol = torch.multinomial(logits[:, -1].div(0.7).softmax(-1), 1)
print()
