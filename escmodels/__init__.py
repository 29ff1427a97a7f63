"""The numeric core: tensors in, tensors out. No paths, no network, no terminal (but for pretrained weights).

Sounds
- `escmodels.clips`: labelled int16 sounds end to end in one array; crops, windows, silence
- `escmodels.folds`: which clips train, validate and test, and the laws against leakage

Features
- `escmodels.features`: the table of features, and the waveform
- `escmodels.feature_configs`: what can be chosen about them, and which combinations are impossible
- `escmodels.spectrograms`: log-mel, gammatone and MFCC, batched, in three stages
- `escmodels.banks`: mel and gammatone filter banks, and their warping
- `escmodels.sparse`: products with matrices that are mostly zeros
- `escmodels.compress`: decibels, logarithm, per-channel energy normalisation
- `escmodels.stacks`: derivatives, resolutions and thirds of the bands as channels

Augmentation
- `escmodels.augment`: all of it in its order; every example draws for itself
- `escmodels.wave_augment`: on the samples, the exact forms of stretch and pitch among them
- `escmodels.band_augment`: on band power
- `escmodels.spec_augment`: on the finished feature
- `escmodels.mixing`: between examples
- `escmodels.draws`: the random numbers they need

Nets
- `escmodels.architectures`: the table of families
- `escmodels.mel_cnn`: convolutions on a spectrogram
- `escmodels.piczak`: Piczak's net
- `escmodels.crnn`: convolutions, then a recurrent layer over the frames
- `escmodels.raw_cnn`: the table of nets on samples
- `escmodels.raw_layers`: what these are made of
- `escmodels.acdnet`: ACDNet and AclNet
- `escmodels.envnet`: EnvNet-v2
- `escmodels.m_series`: M3 to M18, and a plain stack
- `escmodels.resnet`: image nets of timm on a spectrogram
- `escmodels.weights`: pretrained weights, fetched or from a file

Training
- `escmodels.recipe`: flat values to typed configs and back
- `escmodels.checks`: the two checks every config makes of itself
- `escmodels.schedule`: learning rate as a pure function of progress
- `escmodels.optim`: the optimiser of a recipe, the averages of the weights
- `escmodels.precision`: float32 or bfloat16
- `escmodels.chance`: the random streams of a training, from one seed
- `escmodels.resident`: samples of clips on the device
- `escmodels.frames`: what a training keeps of spectrograms
- `escmodels.inputs`: batches of augmented features; every sound is transformed once, as far as that goes
- `escmodels.fit`: the training loop, speaks through a callback

Judgement
- `escmodels.classifier`: waveform to class probabilities; pack and unpack
- `escmodels.packed`: the folder of a packed model: JSON and safetensors
- `escmodels.ensemble`: several classifiers of one recipe that judge together
- `escmodels.folded`: a net for inference, batch norms folded into convolutions
- `escmodels.costs`: parameters and milliseconds of a recipe, before it is trained
- `escmodels.published`: how figures are made that are not honest, to be done again
- `escmodels.scores`: accuracy, top k, macro F1, recall and precision, confusion, log loss
- `escmodels.calibration`: how far probabilities can be trusted, and the temperature
- `escmodels.evidence`: intervals, paired tests
- `escmodels.exams`: out-of-fold predictions, the exam that follows from them, and who is tied
"""
