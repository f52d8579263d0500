// What may be said of the tokens behind an output, and what it is not. Nothing here is an explanation by itself.

// signed: whether numbers speak for and against; quick: whether one pass gives it
export const METHODS = {
  attention: {
    title: "Attention",
    short: "Attn",
    is: "the share of the output's attention that a token gets, the mean over heads",
    not: "not what the token changes: a token may be looked at and its value be small, or undone by later layers",
  },
  norms: {
    title: "Attention × values",
    short: "× values",
    is: "the length of the vector that attention brings from a token, ‖Σ α v W‖ (Kobayashi et al. 2020), as a share",
    not: "not what becomes of that vector in later layers",
  },
  rollout: {
    title: "Rollout",
    short: "Rollout",
    is: "attention multiplied through all layers, half of each vector kept on the way (Abnar and Zuidema 2020)",
    not: "not a measure of effect: it knows weights only, and every layer makes it more even",
  },
  gradient: {
    title: "Gradient × input",
    short: "Grad × in",
    signed: true,
    is: "how the score would change with the token's vector, for very small changes, times that vector",
    not: "not what happens when the token is replaced: where the model is sure, gradients are nearly zero",
  },
  integrated: {
    title: "Integrated gradients",
    short: "Int. grad",
    signed: true,
    is: "gradients on the way from a text that says nothing to this one; they add up to the difference of the scores",
    not: "not free of choice: another baseline gives other numbers",
  },
  occlusion: {
    title: "Occlusion",
    short: "Occlusion",
    signed: true,
    is: "how far the score falls when this one token becomes the baseline's",
    not: "not the whole story of two tokens that say the same: take one away, and little changes",
  },
};

// In the order of the page.
export const ORDER = Object.keys(METHODS);

// How well two orders agree, in words.
export function agreement(correlation) {
  if (correlation === null || correlation === undefined) return "cannot be compared on";
  if (correlation >= 0.8) return "agree closely on";
  if (correlation >= 0.5) return "agree roughly on";
  if (correlation >= 0.2) return "agree little on";
  if (correlation > -0.2) return "do not agree on";
  return "contradict each other on";
}
