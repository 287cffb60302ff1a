// A process for each image, then one report: nextflow run main.nf --images 'slides/*.tif' --out results
// The first image learns the optics; all others are fitted with them.
params.images = 'slides/*.tif'
params.out = 'results'
params.options = ''   // for every fit, as '--types 3 --pixel-size 0.5'
params.groups = ''    // as '{condition}_{sample}_*'

process LEARN {
    input: path image
    output: path 'result/*', emit: folder
    script: "napari-droplets fit '${image}' -o result ${params.options} --quiet"
}

process FIT {
    input:
    tuple path(image), path(first)
    output: path 'result/*', emit: folder
    script: "napari-droplets fit '${image}' -o result ${params.options} --optics '${first}' --learn-optics no --quiet"
}

process REPORT {
    publishDir params.out, mode: 'copy'
    input: path(folders, stageAs: 'results/*')
    output: path 'series/*'
    script:
    def groups = params.groups ? "--groups '${params.groups}'" : ''
    """
    cp -rL results series
    napari-droplets report series ${groups} --quiet
    """
}

workflow {
    images = Channel.fromPath(params.images, checkIfExists: true).toSortedList { it.name }
    learned = LEARN(images.map { it.first() })
    others = FIT(images.flatMap { it.drop(1) }.combine(learned.folder))
    REPORT(learned.folder.mix(others.folder).collect())
}
