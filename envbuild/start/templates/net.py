"""Train a small network with PyTorch, on a GPU if there is one; save it as `outputs/model.pt`."""

import argparse
from pathlib import Path

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name(0) if device.type == "cuda" else "the CPU"
    print(f"training on {where}")
    x = torch.linspace(-1, 1, 4096, device=device).unsqueeze(1)
    y = torch.sin(4 * x)
    model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)).to(
        device
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, arguments.steps + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)

    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)
    torch.save(model.state_dict(), outputs / "model.pt")
    print(f"wrote {outputs / 'model.pt'}")


if __name__ == "__main__":
    main()
