package bwell

// Documents is allDocuments, for tests beside the simulator.
var Documents = allDocuments
