"""The colours of every picture: Okabe and Ito's palette, which stays apart for colour-blind readers, and in grey."""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, YELLOW = "#0072B2", "#D55E00", "#CC79A7", "#F0E442"
GREY, INK = "#8C8C8C", "#222222"


def tint(colour: str, share: float) -> str:
    """`colour` ("#RRGGBB") mixed with white; `share` 1 is the colour itself, 0 white."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02X}" for channel in channels)
