"""The live lane: a request per text, paced and guarded, by `chain.batch` and what follows it."""
