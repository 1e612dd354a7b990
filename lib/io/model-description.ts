/** Size of the images that a network takes. */
export interface InputSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** What is done to raw pixels, 0 to 255, before a network sees them: (pixel - mean)·scale. */
export interface InputNormalization {
  /** An image [C, H, W], or one value a channel. */
  readonly mean: Float32Array | readonly number[];
  /** One factor, or one a channel. */
  readonly scale: number | readonly number[];
}

/** What a network is for, beside its architecture and weights: all that somebody needs to use it. */
export interface ModelDescription {
  /** One name a class, in the order of the logits. Default: not known */
  readonly classNames?: readonly string[] | undefined;
  /** Default: not known */
  readonly input?: InputSize | undefined;
  /** Default: not known */
  readonly normalization?: InputNormalization | undefined;
}
