"""The numeric core: tensors in, tensors out. No paths, no network, no terminal.

- `escmodels.clips`: labelled int16 sounds end to end in one array; crops, windows, silence
- `escmodels.folds`: which clips train, validate and test, and the laws against leakage
- `escmodels.features`: waveform and log-mel front ends, batched
- `escmodels.augment`: gain, roll, noise, masks and mixup, random per example
- `escmodels.mel_cnn`: convolutions on log-mel pictures
- `escmodels.raw_cnn`: ACDNet, convolutions on the waveform
- `escmodels.crnn`: convolutions, then an LSTM over time
- `escmodels.resnet`: image ResNets on log-mel pictures
- `escmodels.architectures`: the table of these families
- `escmodels.schedule`: learning rate as a pure function of progress
- `escmodels.checks`: the two checks every config makes of itself
- `escmodels.recipe`: flat values to typed configs and back
- `escmodels.chance`: the random streams of a training, from one seed
- `escmodels.optim`: the optimiser of a recipe, the moving average of the weights
- `escmodels.fit`: the training loop, speaks through a callback
- `escmodels.classifier`: waveform to class probabilities; pack and unpack
- `escmodels.scores`: accuracy, macro F1, intervals, the exam
"""
